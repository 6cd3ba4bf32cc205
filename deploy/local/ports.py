"""The ports of a system: kept for its own processes from its start to its end."""

import ipaddress
import socket
import sys
from contextlib import ExitStack

import psutil

from deploy.local.home import Home
from deploy.local.leftovers import belongs_to
from shared.errors import ConfigurationError

ANY_IPV4, ANY_IPV6 = "0.0.0.0", "::"  # noqa: S104 - compared, not bound


def reserve_port(host: str, port: int, option: str) -> socket.socket:
    """Take a port that nobody uses, so that from now on only the caller's services can share it.

    Services share their port through SO_REUSEPORT, which asks for no more than the same user; a
    second system would be let in as well. The socket that is returned keeps out whoever wants the
    port for itself, as `reserve_port` does, even while no service listens. It answers nobody.

    Args:
        host: where the services will listen.
        port: the same.
        option: what the operator can change; stands in the error.

    Raises:
        ConfigurationError: the address is in use or cannot be used.
    """
    with ExitStack() as on_error:
        try:
            family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            reservation = on_error.enter_context(socket.socket(family, socket.SOCK_STREAM))
            # Connections of a former system may still be closing on this port.
            reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reservation.bind(address)
            # Of two that start at the same time both may bind, but only one may listen.
            reservation.listen(1)
            if sys.platform == "linux":
                # Linux compares the options at each bind: from now on only SO_REUSEPORT is let in.
                reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
                reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                # It stops listening and stays bound, or it would be given connections.
                reservation.shutdown(socket.SHUT_RDWR)
            else:
                reservation.close()  # the look at the listeners, once all are ready, has to do
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigurationError(
                f"Cannot listen on {host} port {port}: {reason}. Choose another with {option}."
            ) from error
        on_error.pop_all()
    return reservation


def refuse_other_listeners(home: Home, host: str, port: int, option: str) -> None:
    """Make sure that connections to this address reach processes of this home only.

    Raises:
        ConfigurationError: another process listens there too; it is named.
    """
    for process in listeners(host, port):
        if not belongs_to(process, home):
            raise ConfigurationError(
                f"Port {port} of {host} is in use: {_described(process)} listens there too."
                f" Choose another with {option}."
            )


def listeners(host: str, port: int) -> list[psutil.Process]:
    """The processes that are given connections to this address, as far as the system shows them."""
    address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0]
    pids = {
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
        and connection.laddr
        and connection.laddr.port == port
        and _takes_from(str(address), connection.laddr.ip)
        and connection.pid is not None  # another user's, who cannot share a port with us
    }
    return [psutil.Process(pid) for pid in sorted(pids) if psutil.pid_exists(pid)]


def _takes_from(ours: str, theirs: str) -> bool:
    """Whether a listener on `theirs` is given connections that one on `ours` would be given.

    The kernel prefers the most specific address: one on all of them takes nothing from one of them.
    """
    if ours in (theirs, ANY_IPV6):
        return True
    return ours == ANY_IPV4 and ipaddress.ip_address(theirs).version == 4


def _described(process: psutil.Process) -> str:
    try:
        return f"process {process.pid} ({process.name()})"
    except psutil.Error:
        return f"process {process.pid}"
