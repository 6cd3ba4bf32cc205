"""PostgreSQL with its synchronous standby, and Valkey, each on a host of its own."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from deploy.local.servers.embedded import EmbeddedServer, prepare_postgres, prepare_valkey
from tests.environments.hosts.host import Host, HostedServer
from tests.support.database_pair import STANDBY_SETTINGS, DatabasePair

POSTGRES_PORT, VALKEY_PORT = 5432, 6379
# Whoever has the password comes in from any host.
FROM_ANYWHERE = """
host all all 10.77.0.0/16 scram-sha-256
host replication all 10.77.0.0/16 scram-sha-256
"""


def database_pair(primary: Host, standby: Host, folder: Path) -> DatabasePair:
    """Both servers, not started; the standby has no data yet."""
    prepared = prepare_postgres(folder / "primary", POSTGRES_PORT)
    argv = prepared.program.argv
    at = argv.index("-D") + 1
    with Path(argv[at], "pg_hba.conf").open("a") as rules:
        rules.write(FROM_ANYWHERE)
    copy = (*argv[:at], str(folder / "primary" / "standby"), *argv[at + 1 :], *STANDBY_SETTINGS)
    everywhere = ("-c", "listen_addresses=*")
    return DatabasePair(
        _hosted(primary, prepared, (*argv, *everywhere), folder),
        _hosted(standby, prepared, (*copy, *everywhere), folder),
    )


def valkey(host: Host, folder: Path) -> HostedServer:
    prepared = prepare_valkey(folder / "valkey", VALKEY_PORT)
    return _hosted(host, prepared, (*prepared.program.argv, "--bind", host.address), folder)


def _hosted(
    host: Host, prepared: EmbeddedServer, argv: Sequence[str], folder: Path
) -> HostedServer:
    """The same server with other arguments, reached at the host's address."""
    url = prepared.url.replace(urlsplit(prepared.url).hostname or "", host.address)
    program = replace(prepared.program, argv=tuple(argv))
    return HostedServer(host, EmbeddedServer(program, url), folder / f"{host.name}.log")
