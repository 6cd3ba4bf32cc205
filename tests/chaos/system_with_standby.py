"""A system whose PostgreSQL has a synchronous standby, for faults that let it take over."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sqlalchemy import Engine

from deploy.local.servers.embedded import prepare_valkey
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.free_port import free_port
from tests.chaos.control import Control
from tests.chaos.packet_filter import PacketFilter, drop_leftovers, packet_filter
from tests.chaos.small_disk import SmallDisk
from tests.chaos.system import DATABASE, SETTINGS, System
from tests.support.database_pair import DatabasePair, a_pair
from tests.support.line import carrying
from tests.support.servers import Server, with_database
from tests.support.services import folder_for_servers
from tests.system.operators import Operator, an_operator


class SystemWithStandby(System):
    """Its services know both servers, and reach them without a line between."""

    def __init__(
        self,
        operator: Operator,
        pair: DatabasePair,
        valkey: Server,
        packets: PacketFilter,
        folder: Path,
    ) -> None:
        super().__init__(operator, pair.primary, valkey, SmallDisk(folder), folder)
        self.pair = pair
        self.packets = packets
        self._direct: tuple[str, Engine] | None = None
        self.database_url = pair.url(DATABASE)
        self.settings = Settings(database_url=self.database_url, keys_dir=self.home.keys)

    @property
    def engine(self) -> Engine:  # type: ignore[override] # as in a subclass it may be
        """On the server that is the primary now, so that no query waits for one that is lost."""
        url = with_database(self.pair.primary.url, DATABASE)
        if self._direct is None or self._direct[0] != url:
            settings = self.settings.model_copy(update={"database_url": url})
            self._direct = url, open_engine(settings, "chaos")
        return self._direct[1]

    @property
    def database_url_of_services(self) -> str:
        return self.database_url


@contextmanager
def a_system_with_standby(control: Control | None = None) -> Iterator[SystemWithStandby]:
    """A system of its own, until the block ends; `control`: in which way it is broken."""
    with (
        folder_for_servers() as folder,
        an_operator() as operator,
        a_pair() as pair,
        ExitStack() as stack,
    ):
        operator.environment |= SETTINGS | (control.environment if control is not None else {})
        valkey = Server(prepare_valkey(folder / "valkey", free_port()), folder / "valkey.log")
        stack.callback(valkey.stop)
        valkey.start()
        drop_leftovers()
        packets = stack.enter_context(packet_filter())
        system = SystemWithStandby(operator, pair, valkey, packets, folder)
        stack.enter_context(carrying(*system.lines))
        stack.callback(operator.run, "down")
        system.start()
        with system.receiving():
            yield system
        system.engine.dispose()
