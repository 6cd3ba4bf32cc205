"""A host and what runs on it: services of ours, or a server; it may lose its power and boot."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from deploy.local.servers.embedded import EmbeddedServer
from tests.environments.hosts.network import Network
from tests.support.servers import Server
from tests.support.services import PROJECT


class Program(Protocol):
    @property
    def runs(self) -> bool: ...

    def start(self) -> None: ...

    def kill(self) -> None: ...


class Host:
    """A machine with an address of its own; `programs` are started when it boots.

    `is_lost`: it has no power.
    """

    def __init__(self, network: Network, name: str) -> None:
        self.network = network
        self.name = name
        self.programs: list[Program] = []
        self.is_lost = False
        network.add(name)

    @property
    def address(self) -> str:
        return self.network.address(self.name)

    @property
    def runs(self) -> bool:
        return all(program.runs for program in self.programs)

    def lose(self) -> None:
        """Its power is gone, and with it all that ran; nobody is told."""
        self.is_lost = True
        self.network.remove(self.name)
        for program in self.programs:
            program.kill()

    def boot(self, *, start: bool = True) -> None:
        """It comes back under its address, and knows nothing of what was.

        Args:
            start: whether its programs are started, too.
        """
        self.network.add(self.name)
        self.network.mend(self.name)
        self.is_lost = False
        if start:
            self.start()

    def start(self) -> None:
        for program in self.programs:
            program.start()


class Service:
    """`python -m MODULE` on a host. Nothing starts it again: what ends by itself is a finding."""

    def __init__(
        self, host: Host, name: str, module: str, environment: Mapping[str, str], logs: Path
    ) -> None:
        self._host = host
        self._module = module
        self._environment = environment
        self._log = logs / f"{name}.log"
        self.name = name
        self.process: subprocess.Popen[bytes] | None = None
        host.programs.append(self)

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        with self._host.network.inside(self._host.name), self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", self._module],
                cwd=PROJECT,
                env=self._environment,
                start_new_session=True,  # Ctrl-C is ours to handle
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class HostedServer(Server):
    """A server that runs on a host."""

    def __init__(self, host: Host, embedded: EmbeddedServer, log: Path) -> None:
        super().__init__(embedded, log)
        self.host = host
        host.programs.append(self)

    def start(self) -> None:
        with self.host.network.inside(self.host.name):
            super().start()
