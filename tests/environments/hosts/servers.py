"""PostgreSQL with its synchronous standby, and Valkey, each on a host of its own."""

from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from deploy.local.servers.embedded import EmbeddedServer, prepare_postgres, prepare_valkey
from tests.environments.hosts.host import Host, HostedServer
from tests.support.database_pair import STANDBY_SETTINGS, DatabasePair
from tests.support.servers import beside, with_settings

POSTGRES_PORT, VALKEY_PORT = 5432, 6379
# Whoever has the password comes in from any host.
FROM_ANYWHERE = """
host all all 10.77.0.0/16 scram-sha-256
host replication all 10.77.0.0/16 scram-sha-256
"""


def database_pair(primary: Host, standby: Host, folder: Path) -> DatabasePair:
    """Both servers, not started; the standby has no data yet."""
    prepared = prepare_postgres(folder / "primary", POSTGRES_PORT)
    with (folder / "primary" / "data" / "pg_hba.conf").open("a") as rules:
        rules.write(FROM_ANYWHERE)
    everywhere = with_settings(prepared, listen_addresses="*")
    copy = beside(everywhere, folder / "primary" / "standby", POSTGRES_PORT)
    return DatabasePair(
        _hosted(primary, everywhere, folder),
        _hosted(standby, with_settings(copy, **STANDBY_SETTINGS), folder),
    )


def valkey(host: Host, folder: Path) -> HostedServer:
    prepared = prepare_valkey(folder / "valkey", VALKEY_PORT)
    argv = (*prepared.program.argv, "--bind", host.address)
    return _hosted(host, replace(prepared, program=replace(prepared.program, argv=argv)), folder)


def _hosted(host: Host, server: EmbeddedServer, folder: Path) -> HostedServer:
    """The same server, reached at the host's address."""
    url = server.url.replace(urlsplit(server.url).hostname or "", host.address)
    return HostedServer(host, replace(server, url=url), folder / f"{host.name}.log")
