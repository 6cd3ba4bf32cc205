"""Where the benchmark's own servers listen."""

import random
import socket

TRIES = 100


def free_port() -> int:
    """A port of the loopback interface that is free now.

    Raises:
        RuntimeError: none was found.
    """
    # Below 32,768: the kernel lends the ports above to outgoing connections.
    for port in random.SystemRandom().sample(range(20_000, 32_000), k=TRIES):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("There is no free port on 127.0.0.1.")
