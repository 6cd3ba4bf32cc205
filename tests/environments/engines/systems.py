"""A whole system on an engine that its operator chose: by URL alone, as far as that goes."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from deploy.local.servers.embedded import prepare_postgres, prepare_valkey
from shared.free_port import free_port
from tests.chaos.small_disk import SmallDisk
from tests.chaos.system import DATABASE, SETTINGS, System
from tests.support.line import carrying
from tests.support.servers import Server, run_admin
from tests.support.services import folder_for_servers
from tests.system.operators import Operator, an_operator

# Runs what an operator chose, given the URL of PostgreSQL, and gives what the services are told.
Choice = Callable[[str], AbstractContextManager[Mapping[str, str]]]


class ChosenSystem(System):
    """Its services reach their engines without a line between."""

    def __init__(self, operator: Operator, postgres: Server, valkey: Server, folder: Path) -> None:
        super().__init__(operator, postgres, valkey, SmallDisk(folder), folder)
        self.chosen: Mapping[str, str] = {}

    @property
    def environment_of_services(self) -> dict[str, str]:
        ours = {"EVENTIFY_DATABASE_URL": self.database_url, "EVENTIFY_REDIS_URL": self.valkey.url}
        return {**ours, **self.clock.environment, **self.chosen}


@contextmanager
def a_system_on(choice: Choice, valkey: Server | None = None) -> Iterator[ChosenSystem]:
    """A system of its own, until the block ends.

    Args:
        choice: of its operator.
        valkey: where its results are; one of its own when not given.
    """
    with folder_for_servers() as folder, an_operator() as operator, ExitStack() as stack:
        operator.environment |= SETTINGS
        postgres = Server(prepare_postgres(folder / "pg", free_port()), folder / "postgres.log")
        if valkey is None:
            prepared = prepare_valkey(folder / "valkey", free_port())
            valkey = Server(prepared, folder / "valkey.log")
            stack.callback(valkey.stop)
            valkey.start()
        stack.callback(postgres.stop)
        postgres.start()
        run_admin(postgres.url, f"CREATE DATABASE {DATABASE}")
        system = ChosenSystem(operator, postgres, valkey, folder)
        system.chosen = stack.enter_context(choice(system.database_url))
        stack.enter_context(carrying(*system.lines))
        stack.callback(operator.run, "down")
        system.up()
        yield system
        system.engine.dispose()
