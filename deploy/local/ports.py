"""The ports of a system, reserved for its own processes while it is running."""

import ipaddress
import socket
import sys
from contextlib import ExitStack

import psutil

from deploy.local.home import Home
from deploy.local.leftovers import belongs_to, process_name
from shared.errors import ConfigurationError

ANY_IPV4, ANY_IPV6 = "0.0.0.0", "::"  # noqa: S104 - compared, not bound


def reserve_port(host: str, port: int, option: str) -> socket.socket:
    """Reserve a free port, so that only this system's services can share it.

    Gateways share a port through SO_REUSEPORT, which lets every process of the same user in, also
    those of a second system. The socket that is returned makes an exclusive bind fail, as that of
    `reserve_port`, even while no service listens. It accepts no connections.

    Args:
        host: where the services will listen.
        port: the same.
        option: the option that changes it, for the error.

    Raises:
        ConfigurationError: the address is in use or cannot be used.
    """
    with ExitStack() as on_error:
        try:
            family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            reservation = on_error.enter_context(socket.socket(family, socket.SOCK_STREAM))
            # Connections of an earlier system may still be closing on this port.
            reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reservation.bind(address)
            # Of two that start at the same time both may bind, but only one may listen.
            reservation.listen(1)
            if sys.platform == "linux":
                # Linux compares the options at each bind: from now on only SO_REUSEPORT may bind.
                reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
                reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                # It stops listening, or it would get connections, and stays bound.
                reservation.shutdown(socket.SHUT_RDWR)
            else:
                reservation.close()  # there only `refuse_other_listeners` protects it
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigurationError(
                f"Cannot listen on {host} port {port}: {reason}. Choose another with {option}."
            ) from error
        on_error.pop_all()
    return reservation


def refuse_other_listeners(home: Home, host: str, port: int, option: str) -> None:
    """
    Raises:
        ConfigurationError: a process of another system or program listens there too.
    """
    for process in listeners(host, port):
        if not belongs_to(process, home):
            raise ConfigurationError(
                f"Port {port} of {host} is in use: process {process.pid} ({process_name(process)})"
                f" also listens there. Choose another with {option}."
            )


def listeners(host: str, port: int) -> list[psutil.Process]:
    """The visible processes that get connections to this address."""
    address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0]
    pids = {
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
        and connection.laddr
        and connection.laddr.port == port
        and _takes_from(str(address), connection.laddr.ip)
        and connection.pid is not None  # another user's, which cannot share our port
    }
    return [psutil.Process(pid) for pid in sorted(pids) if psutil.pid_exists(pid)]


def _takes_from(ours: str, theirs: str) -> bool:
    """Whether a listener on `theirs` gets connections meant for `ours`.

    The kernel prefers the most specific address, so a wildcard takes none from a single address.
    """
    if ours in (theirs, ANY_IPV6):
        return True
    return ours == ANY_IPV4 and ipaddress.ip_address(theirs).version == 4
