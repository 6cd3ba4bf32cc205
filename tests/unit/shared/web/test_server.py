"""The listening socket: what connections inherit from it."""

import socket

from shared.web.server import UNSENT_MAX_BYTES, listening_socket

# What the kernel adds: its own accounting, and the window of the client.
SLACK_BYTES = 131_072


def test_the_kernel_takes_little_that_a_client_does_not_read() -> None:
    with (
        listening_socket("127.0.0.1", 0, 5, shares_port=True) as listener,
        socket.socket() as client,
    ):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.connect(listener.getsockname())
        connection, _address = listener.accept()
        with connection:
            connection.setblocking(False)
            taken = connection.send(bytes(16 << 20))
    assert UNSENT_MAX_BYTES <= taken <= UNSENT_MAX_BYTES + SLACK_BYTES
