"""Answers every request with the same bytes: what the generator itself can do is measured with it.

`python -m loadtests.baselines.fixed_bytes PORT`. It looks for the end of a request's head and does
not parse it; every request of a run must therefore come in one piece, as the generator's do.
"""

import asyncio
import signal
import sys
from typing import cast

import uvloop

from loadtests.baselines.bare_asgi import BODY
from shared.web.server import listening_socket

ANSWER = b"HTTP/1.1 202 Accepted\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
BACKLOG = 4_096


class _FixedBytes(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if b"\r\n\r\n" in data:
            self._transport.write(ANSWER)


async def serve_fixed_bytes(port: int) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    with listening_socket("127.0.0.1", port, BACKLOG, shares_port=True) as listener:
        server = await loop.create_server(_FixedBytes, sock=listener)
        await stopped.wait()
        server.close()


if __name__ == "__main__":
    uvloop.run(serve_fixed_bytes(int(sys.argv[1])))
