"""Two PostgreSQL servers: what the primary commits, a synchronous standby has on its disk."""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from deploy.local.embedded import (
    POSTGRES_BIN_PATH,
    EmbeddedServer,
    free_port,
    prepare_postgres,
    run_as,
)
from tests.chaos.servers import Server
from tests.conftest import admin_connection, run_admin
from tests.services import folder_for_servers
from tests.waiting import eventually

# A standby looks for its primary at once, where PostgreSQL's own default is every five seconds.
STANDBY_SETTINGS = ("-c", "wal_retrieve_retry_interval=100ms")
FOLLOWERS = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
CANCEL = f"SELECT count(pg_cancel_backend(pid)) FROM ({WAITING}) waiting"


class DatabasePair:
    """A primary that waits for its standby at each commit, and that standby.

    The names stay when the standby is promoted: from then on `standby` is the server that serves.
    """

    def __init__(self, primary: Server, standby: Server) -> None:
        self.primary = primary
        self.standby = standby

    def url(self, database: str, order: Sequence[str] = ("primary", "standby")) -> str:
        """Both servers, in this order, as libpq reads them."""
        servers = [urlsplit(getattr(self, name).url) for name in order]
        hosts = ",".join(f"{server.hostname}:{server.port}" for server in servers)
        first = servers[0]  # the standby is a copy, passwords included
        return f"postgresql://{first.username}:{first.password}@{hosts}/{database}"

    def promote(self) -> None:
        """Let the standby take over; returns when it can be written to."""
        run_admin(self.standby.url, "SELECT pg_promote()")

    @contextmanager
    def standby_away(self) -> Iterator[None]:
        """The standby is gone until the block ends; then commits are confirmed again."""
        self.standby.end(signal.SIGINT)
        try:
            yield
        finally:
            self.standby.start()
            self.wait_until_in_step()

    def wait_until_in_step(self) -> None:
        """Until the standby confirms commits."""

        def has_follower() -> None:
            assert self._ask(FOLLOWERS) == 1

        eventually(has_follower)

    def cancel_waits(self) -> int:
        """Cancel what waits for the standby, as an administrator might; returns how many."""
        return self._ask(CANCEL)

    def wait_for_commits(self, how_many: int = 1) -> None:
        """Until so many commits wait for the standby."""

        def they_wait() -> None:
            assert self._ask(f"SELECT count(*) FROM ({WAITING}) waiting") == how_many

        eventually(they_wait)

    def _ask(self, question: str) -> int:
        with (
            closing(admin_connection(self.primary.url)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(question)
            (answer,) = cursor.fetchone() or (0,)
            return int(answer)


@contextmanager
def a_pair() -> Iterator[DatabasePair]:
    """Both servers, until the block ends."""
    with folder_for_servers() as folder:
        primary = Server(prepare_postgres(folder / "primary", free_port()), folder / "primary.log")
        primary.start()
        try:
            standby = Server(_copy_of(primary, folder), folder / "standby.log")
            pair = DatabasePair(primary, standby)
            standby.start()
            # In the primary's own file: the standby has its copy already, and stands alone later.
            run_admin(primary.url, "ALTER SYSTEM SET synchronous_standby_names = '*'")
            run_admin(primary.url, "SELECT pg_reload_conf()")
            pair.wait_until_in_step()
            try:
                yield pair
            finally:
                standby.stop()
        finally:
            primary.stop()


def _copy_of(primary: Server, folder: Path) -> EmbeddedServer:
    """A server on a copy of the primary's data, which follows the primary when it runs."""
    program, port = primary.embedded.program, free_port()
    data = folder / "primary" / "standby"  # the folder belongs to whom the servers run as
    subprocess.run(
        [
            *(str(POSTGRES_BIN_PATH / "pg_basebackup"), "--pgdata", str(data)),
            *("--dbname", primary.url, "--write-recovery-conf", "--checkpoint=fast", "--no-sync"),
        ],
        **run_as(program.user),
        cwd="/",
        check=True,
        capture_output=True,
    )
    argv = list(program.argv)
    argv[argv.index("-D") + 1] = str(data)
    argv[argv.index("-p") + 1] = str(port)
    url = primary.url.replace(f":{urlsplit(primary.url).port}/", f":{port}/")
    return EmbeddedServer(replace(program, argv=(*argv, *STANDBY_SETTINGS)), url)
