"""Runs an ASGI application in this process, with the same flags for every service."""

import gc
import resource
import socket
import sys
from contextlib import ExitStack

import uvicorn
from starlette.types import ASGIApp

from shared.config.settings import Settings
from shared.errors import ConfigurationError
from shared.web.http_protocol import Connection

# Connections that the kernel holds while the process is busy; it reduces this to its own limit.
LISTEN_BACKLOG = 4_096
# Of each connection, beyond what the client's window allows. By default the kernel takes megabytes
# from a client that does not read: 200 of them stopped a gateway for 0.2 s.
UNSENT_MAX_BYTES = 131_072
# For which a thread waits for one that computes; Python's default is 0.005. A purchase needs other
# threads several times, and beside 5,000 probes a second took 106 ms at p99, with this 68.
SWITCH_SECONDS = 0.0005


def serve(app: ASGIApp, host: str, port: int, settings: Settings, *, shares_port: bool) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests in progress.

    Args:
        shares_port: several processes may listen on it (`SO_REUSEPORT`), and the kernel spreads
            connections over them; else a port in use is an error.

    Raises:
        ConfigurationError: the address cannot be bound.
    """
    open_files_max = raise_open_files_limit()
    _tune_gc()
    sys.setswitchinterval(SWITCH_SECONDS)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=_connection(settings, open_files_max),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        # On every answer: 33 bytes, and no browser takes JSON for a page or a script.
        headers=[("x-content-type-options", "nosniff")],
        # Read where an address or a scheme is asked for, and not on the hot routes.
        proxy_headers=False,
        backlog=LISTEN_BACKLOG,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    with listening_socket(host, port, LISTEN_BACKLOG, shares_port=shares_port) as listener:
        uvicorn.Server(config).run(sockets=[listener])


def _connection(settings: Settings, open_files_max: int) -> type[Connection]:

    class LimitedConnection(Connection):
        header_timeout_seconds = settings.header_timeout_seconds
        head_max_bytes = settings.head_max_bytes
        send_timeout_seconds = settings.send_timeout_seconds
        # Those that idle leave half of the files to those that do not.
        idle_max = min(settings.idle_connections_max, max(1, open_files_max // 2))

    return LimitedConnection


def _tune_gc() -> None:
    """Run the cyclic collector less often, and never over the objects of the start.

    Requests and connections leave no cycles, yet each connection is a few hundred objects that
    would be scanned again and again: a rush of 5,000 buyers cost 14-30 % more CPU with the
    defaults. A collection of 10,000 new objects takes 20 ms at most; of 100,000 it took 200.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 50, 100)


def listening_socket(host: str, port: int, backlog: int, *, shares_port: bool) -> socket.socket:
    """Raises:
    ConfigurationError: the address cannot be bound.
    """
    with ExitStack() as on_error:
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            listener = on_error.enter_context(socket.socket(family, socket.SOCK_STREAM))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shares_port))
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_MAX_BYTES)
            listener.bind((host, port))
            listener.listen(backlog)
        except OSError as error:
            raise ConfigurationError(
                f"Cannot listen on {host} port {port}: {error.strerror}."
            ) from error
        on_error.pop_all()
    return listener


def raise_open_files_limit() -> int:
    """Raise the soft limit of open files to the hard limit, and return it."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard
