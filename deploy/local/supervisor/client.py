"""A client of supervisord's XML-RPC, over its Unix socket.

The transport that supervisor has for this knows no timeout.
"""

import socket
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any
from xmlrpc import client as xmlrpc

from shared.errors import ConfigurationError

# It answers within milliseconds, unless it hangs.
ANSWER_SECONDS = 5.0


class SupervisorUnavailableError(ConfigurationError):
    """supervisord does not answer."""


@dataclass(frozen=True, slots=True)
class Process:
    """`state`: as supervisord names it, such as `running`, `starting`, or `backoff` between failed
    starts; `unsupervised` without a supervisor, with None as `restarts`."""

    name: str
    state: str
    pid: int | None
    restarts: int | None


class SupervisorClient:
    def __init__(self, socket_path: str) -> None:
        self._socket_path = socket_path

    def processes(self) -> list[Process]:
        """Every program, by name.

        Raises:
            SupervisorUnavailableError: it does not answer.
        """
        restarts = self._call("eventify.counts")
        processes = (
            Process(
                name=info["name"],
                state=info["statename"].lower(),
                pid=info["pid"] or None,
                restarts=restarts.get(info["name"], 0),
            )
            for info in self._call("supervisor.getAllProcessInfo")
        )
        return sorted(processes, key=lambda process: process.name)

    def start(self, group: str) -> None:
        """Start a group's programs, without waiting for them.

        Raises:
            SupervisorUnavailableError: it does not answer.
        """
        self._call("supervisor.startProcessGroup", group, False)

    def _call(self, method: str, *arguments: Any) -> Any:
        transport = _UnixTransport(self._socket_path)
        try:
            with xmlrpc.ServerProxy("http://supervisor", transport=transport) as server:
                return getattr(server, method)(*arguments)
        except (OSError, HTTPException, xmlrpc.Error) as error:
            raise SupervisorUnavailableError(
                f"Eventify's supervisor does not answer: {error}."
            ) from error


class _UnixConnection(HTTPConnection):
    def __init__(self, socket_path: str) -> None:
        super().__init__("supervisor", timeout=ANSWER_SECONDS)
        self._socket_path = socket_path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER_SECONDS)
        self.sock.connect(self._socket_path)


class _UnixTransport(xmlrpc.Transport):
    def __init__(self, socket_path: str) -> None:
        super().__init__()
        self._socket_path = socket_path

    def make_connection(self, host: Any) -> HTTPConnection:
        connection = _UnixConnection(self._socket_path)
        # Where the base class looks for what it has to close.
        self._connection = host, connection
        return connection
