"""A port for a server of our own."""

import random
import socket

from shared.errors import ConfigurationError


def free_port() -> int:
    """A port of the loopback interface that is free now, and stays so while its server restarts.

    Raises:
        ConfigurationError: none was found.
    """
    # Below 32,768: the kernel lends the ports above to outgoing connections, even to a client that
    # is just trying to reach the server which is to come back on that very port.
    for port in random.SystemRandom().sample(range(20_000, 32_000), k=100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ConfigurationError("There is no free port on 127.0.0.1.")
