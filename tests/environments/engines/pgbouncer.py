"""A PgBouncer of a test's own, which hands a session on after each transaction."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2

from deploy.local.servers.embedded import UNPRIVILEGED_USER, EmbeddedServer
from deploy.local.supervisor.program import Program
from shared.free_port import free_port
from tests.support.servers import Server
from tests.support.services import folder_for_servers

# Fewer sessions than the services have connections, so that they are really handed on.
SESSIONS = 8


class PgBouncer(Server):
    def answers(self) -> None:
        psycopg2.connect(self.url).close()

    def command(self, command: str) -> list[tuple[str, ...]]:
        """What its console answers."""
        connection = psycopg2.connect(self.url, dbname="pgbouncer")
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(command)
            rows = cursor.fetchall() if cursor.description else []
        connection.close()
        return rows


def missing() -> str:
    """What a machine lacks to run it; nothing if it can."""
    return "" if shutil.which("pgbouncer") else "pgbouncer is not installed (apt install pgbouncer)"


@contextmanager
def a_pgbouncer(database_url: str) -> Iterator[PgBouncer]:
    """Before this database, until the block ends; set up as docs/engines.md says."""
    with folder_for_servers() as folder:
        server = PgBouncer(_prepared(folder, database_url), folder / "pgbouncer.log")
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _prepared(folder: Path, database_url: str) -> EmbeddedServer:
    port, real = free_port(), urlsplit(database_url)
    users = folder / "users.txt"
    users.write_text(f'"{real.username}" "{real.password}"\n')
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(
        f"""[databases]
tickets = host=127.0.0.1 port={real.port} dbname={real.path.strip("/")}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
admin_users = {real.username}
pool_mode = transaction
default_pool_size = {SESSIONS}
max_client_conn = 500
server_login_retry = 1
server_connect_timeout = 2
query_wait_timeout = 1
"""
    )
    user = UNPRIVILEGED_USER if os.geteuid() == 0 else None  # it refuses to run as root
    folder.chmod(0o755)
    program = Program(
        "pgbouncer", ("pgbouncer", str(configuration)), stop_signal=signal.SIGINT, user=user
    )
    url = f"postgresql://{real.username}:{real.password}@127.0.0.1:{port}/tickets"
    return EmbeddedServer(program, url)
