"""What a round is held on: a whole system, wherever its processes run."""

from typing import Protocol

import psutil
from sqlalchemy import Engine

from shared.config.settings import Settings
from tests.support.receivers import Receiver
from tests.support.servers import Server


class Subject(Protocol):
    """`tokens`: by user id. `valkey`, `database_url`: reached directly, also during a fault.

    `receiver`: where all entries of the first user's events are sent, if anywhere.
    """

    settings: Settings
    valkey: Server
    database_url: str
    receiver: Receiver | None

    @property
    def engine(self) -> Engine: ...

    @property
    def tokens(self) -> dict[int, str]: ...

    @property
    def gateway_urls(self) -> tuple[str, ...]:
        """Where the buyers send their requests; any of them will do."""

    @property
    def pulse_url(self) -> str:
        """Gateways that nothing is done to on the way."""

    def process(self, name: str) -> psutil.Process:
        """The process of that name, such as `worker-1`."""

    def wait_until_all_are_started(self) -> None:
        """Until all that was killed is started again."""

    def wait_until_all_run(self) -> None:
        """Until every process does its work, so that rounds do not mix."""
