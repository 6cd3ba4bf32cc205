"""Eventify on several hosts: two gateways, two workers with a sweeper each, one database."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

import httpx
import psutil
from sqlalchemy import Engine

from shared.auth.keys import ensure_signing_key
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.database.migrate import migrate
from tests.chaos.system import DATABASE, SETTINGS, tokens_of_buyers
from tests.environments.hosts import servers
from tests.environments.hosts.host import Host, Service
from tests.environments.hosts.network import Network, a_network
from tests.support.receivers import Receiver
from tests.support.servers import Server, run_admin
from tests.support.services import folder_for_servers
from tests.support.waiting import eventually

GATEWAYS = ("gateway-1", "gateway-2")
WORKERS = ("worker-1", "worker-2")
HOSTS = (*GATEWAYS, *WORKERS, "catalog", "valkey", "database-1", "database-2")
# Buyers and those who look on: a host that nothing ever happens to.
OUTSIDE = "outside"
GATEWAY_PORT, CATALOG_PORT = 8000, 8001


class SystemOfHosts:
    """What a round of tests/chaos is held on, each process on a host of its own."""

    def __init__(self, network: Network, folder: Path, settings: Mapping[str, str]) -> None:
        self.network = network
        self.receiver: Receiver | None = None  # no host of these sends
        self.hosts = {name: Host(network, name) for name in HOSTS}
        self.pair = servers.database_pair(
            self.hosts["database-1"], self.hosts["database-2"], folder
        )
        self.valkey = servers.valkey(self.hosts["valkey"], folder)
        keys_dir = folder / "keys"
        ensure_signing_key(keys_dir)
        self.database_url = self.pair.url(DATABASE)
        self.settings = Settings(
            database_url=self.database_url, redis_url=self.valkey.url, keys_dir=keys_dir
        )
        self._services = {
            service.name: service for service in self._place_services(folder, settings)
        }

    def up(self) -> None:
        """Start everything, in the order in which it is needed."""
        self.pair.primary.start()
        self.pair.join()
        run_admin(self.pair.primary.url, f"CREATE DATABASE {DATABASE}")
        migrate(self.engine)
        self.valkey.start()
        for host in self.hosts.values():
            host.start()
        self.wait_until_all_run()

    def down(self) -> None:
        self.engine.dispose()
        for host in self.hosts.values():
            host.lose()

    @property
    def gateway_urls(self) -> tuple[str, ...]:
        return tuple(f"http://{self.hosts[name].address}:{GATEWAY_PORT}" for name in GATEWAYS)

    @property
    def pulse_url(self) -> str:
        return self.gateway_urls[-1]

    @cached_property
    def engine(self) -> Engine:
        return open_engine(self.settings, "outside")

    @cached_property
    def tokens(self) -> dict[int, str]:
        return tokens_of_buyers(self.engine, self.settings)

    def host_of(self, server: Server) -> str:
        """The name of the host on which that server runs."""
        return next(name for name, host in self.hosts.items() if server in host.programs)

    def process(self, name: str) -> psutil.Process:
        process = self._services[name].process
        assert process is not None
        return psutil.Process(process.pid)

    def wait_until_all_are_started(self) -> None:
        """Where there is power, all that should run does: nothing here is started again."""
        ended = [name for name, host in self.hosts.items() if not (host.is_lost or host.runs)]
        assert not ended, f"on these hosts something ended: {ended}"

    def wait_until_all_run(self) -> None:
        """Until gateways and catalog answer that they are ready, and workers decide."""

        def all_ready() -> None:
            self.wait_until_all_are_started()
            catalog = f"http://{self.hosts['catalog'].address}:{CATALOG_PORT}"
            for url in (*self.gateway_urls, catalog):
                assert httpx.get(f"{url}/readyz", timeout=3).status_code == 200
            for name in WORKERS:
                assert self.process(name).children(), f"{name} has no child yet"

        eventually(all_ready, retry_on=(AssertionError, httpx.TransportError), within_seconds=40)

    def _place_services(self, folder: Path, settings: Mapping[str, str]) -> Iterator[Service]:
        environment = {
            **{name: value for name, value in os.environ.items() if "EVENTIFY" not in name},
            **SETTINGS,
            **settings,
            "EVENTIFY_DATABASE_URL": self.database_url,
            "EVENTIFY_REDIS_URL": self.valkey.url,
            "EVENTIFY_KEYS_DIR": str(self.settings.keys_dir),
            "EVENTIFY_CATALOG_URL": f"http://{self.hosts['catalog'].address}:{CATALOG_PORT}",
            "EVENTIFY_GATEWAY_HOST": "0.0.0.0",
            "EVENTIFY_CATALOG_HOST": "0.0.0.0",
        }

        def service(host: str, module: str, name: str = "") -> Service:
            return Service(self.hosts[host], name or host, module, environment, folder)

        yield service("catalog", "catalog")
        for gateway in GATEWAYS:
            yield service(gateway, "gateway")
        for worker in WORKERS:
            yield service(worker, "purchase_worker")
            yield service(worker, "purchase_worker.sweep", f"{worker}-sweeper")


@contextmanager
def a_system_of_hosts(**settings: str) -> Iterator[SystemOfHosts]:
    """A system of its own, until the block ends; the caller stands outside of its hosts.

    Args:
        settings: of its services, as environment variables.
    """
    with folder_for_servers() as folder, a_network() as network, ExitStack() as stack:
        network.add(OUTSIDE)
        stack.enter_context(network.inside(OUTSIDE))
        system = SystemOfHosts(network, folder, settings)
        stack.callback(system.down)
        system.up()
        yield system
