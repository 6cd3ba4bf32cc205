"""Two PostgreSQL servers: what the primary commits, a synchronous standby has on its disk."""

import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from deploy.local.servers.embedded import run_as
from deploy.local.servers.wheels import postgres_programs
from tests.support.servers import (
    Server,
    admin_connection,
    beside,
    migrated_postgres,
    run_admin,
    with_settings,
)
from tests.support.services import folder_for_servers
from tests.support.waiting import eventually

# A standby looks for its primary at once, where PostgreSQL's own default is every five seconds.
STANDBY_SETTINGS = {"wal_retrieve_retry_interval": "100ms"}
FOLLOWERS = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
CANCEL = f"SELECT count(pg_cancel_backend(pid)) FROM ({WAITING}) waiting"


class DatabasePair:
    """A primary that waits for its standby at each commit, and that standby.

    After a failover the names are exchanged, as the roles are.
    """

    def __init__(self, primary: Server, standby: Server) -> None:
        self.primary = primary
        self.standby = standby

    def url(self, database: str, order: Sequence[str] = ("primary", "standby")) -> str:
        """Both servers, in this order, and that it must be the one that can be written to."""
        servers = [urlsplit(getattr(self, name).url) for name in order]
        hosts = ",".join(f"{server.hostname}:{server.port}" for server in servers)
        who = f"{servers[0].username}:{servers[0].password}"  # on both, for one is a copy
        return f"postgresql://{who}@{hosts}/{database}?target_session_attrs=read-write"

    def join(self) -> None:
        """Have the standby follow the primary, on a new copy; from then on commits wait for it."""
        program = self.standby.embedded.program
        data = program.argv[program.argv.index("-D") + 1]
        shutil.rmtree(data, ignore_errors=True)
        subprocess.run(
            [
                *(str(postgres_programs() / "pg_basebackup"), "--pgdata", data, "--no-sync"),
                *("--dbname", self.primary.url, "--write-recovery-conf", "--checkpoint=fast"),
            ],
            **run_as(program.user),
            cwd="/",
            check=True,
            capture_output=True,
        )
        # An older server does not know all options that pg_basebackup wrote; the last line counts.
        with Path(data, "postgresql.auto.conf").open("a") as settings:
            settings.write(f"primary_conninfo = '{self.primary.url}'\n")
        self.standby.start()
        # In the primary's own file: the standby has its copy already, and stands alone later.
        run_admin(self.primary.url, "ALTER SYSTEM SET synchronous_standby_names = '*'")
        run_admin(self.primary.url, "SELECT pg_reload_conf()")
        self.wait_until_in_step()

    def promote(self) -> None:
        """Let the standby take over from a primary that is dead."""
        self.primary, self.standby = self.standby, self.primary
        run_admin(self.primary.url, "SELECT pg_promote()")

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
    with folder_for_servers() as folder, ExitStack() as stack:
        prepared = migrated_postgres(folder / "first")
        copy = beside(prepared, folder / "first" / "second")
        pair = DatabasePair(
            Server(prepared, folder / "first.log"),
            Server(with_settings(copy, **STANDBY_SETTINGS), folder / "second.log"),
        )
        for server in (pair.primary, pair.standby):
            stack.callback(server.stop)
        pair.primary.start()
        pair.join()
        yield pair
