"""Bounds the memory of responses that clients do not read, or read slowly.

A response is in memory until its client has read it. So a large one is sent in pieces, and its size
counts meanwhile. Beyond the limit, the clients that have been reading longest are disconnected: one
that reads has the response within a second, so the oldest are those that do not read.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from shared.errors import ClientLeft, Unavailable

# Smaller ones are left to the transport, which buffers as much of every response.
LARGE_BYTES = 65_536
PIECE_BYTES = 32_768
# One user's responses may take this part of the limit.
SHARE_OF_USER = 8
# No client is disconnected before.
READING_SECONDS = 1.0
TOO_MUCH = "Too many responses are unread; read those that you requested, and retry."

Headers = Iterable[tuple[bytes, bytes]]


class HeldResponse:
    """A response in memory. `sending`: its time limit, once it is being sent."""

    def __init__(self, user_id: int | str, size: int, since: float) -> None:
        self.user_id = user_id
        self.size = size
        self.since = since
        self.sending: asyncio.Timeout | None = None


class UnreadResponses:
    """The large responses in this process's memory.

    Args:
        max_bytes: of all of them.
        timeout_seconds: in which a client has to read one.
    """

    def __init__(self, max_bytes: int, timeout_seconds: float) -> None:
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds
        # The oldest first.
        self._held: dict[HeldResponse, None] = {}
        self._bytes = 0
        self._bytes_of_user: Counter[int | str] = Counter()

    @contextmanager
    def hold(self, user_id: int | str, size: int) -> Iterator[HeldResponse]:
        """Count a response of `size` bytes until the block ends.

        Args:
            user_id: of one without a token, his address.
            size: in bytes.

        Raises:
            Unavailable: the limit of this user, or of all, is exceeded.
        """
        now = asyncio.get_running_loop().time()
        mine = self._bytes_of_user[user_id]
        above_share = min(mine, mine + size - self._max_bytes // SHARE_OF_USER)
        if above_share > 0:
            self._disconnect(
                above_share, [one for one in self._held if one.user_id == user_id], now
            )
        # A single one is allowed at any size.
        above_all = min(self._bytes, self._bytes + size - self._max_bytes)
        if above_all > 0:
            self._disconnect(above_all, self._held, now)
        held = HeldResponse(user_id, size, now)
        self._held[held] = None
        self._bytes += size
        self._bytes_of_user[user_id] += size
        try:
            yield held
        finally:
            self._forget(held)

    async def send(
        self, held: HeldResponse, send: Send, status: int, headers: Headers, content: bytes
    ) -> None:
        """Send a response as fast as its client reads.

        Raises:
            ClientLeft: it did not read it in time, or was disconnected.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds) as held.sending:
                await send({"type": "http.response.start", "status": status, "headers": headers})
                for at in range(0, len(content), PIECE_BYTES):
                    # A copy, so that the last piece does not keep the whole in the transport.
                    piece = content[at : at + PIECE_BYTES]
                    more = at + PIECE_BYTES < len(content)
                    await send({"type": "http.response.body", "body": piece, "more_body": more})
        except TimeoutError as error:
            raise ClientLeft from error

    async def send_part(self, user_id: int, send: Send, part: bytes) -> None:
        """Send a part of a stream; it counts for as long as its client does not read.

        Raises:
            ClientLeft: it did not read in time, was disconnected, or others read as little.
        """
        try:
            with self.hold(user_id, len(part)) as held:
                async with asyncio.timeout(self._timeout_seconds) as held.sending:
                    await send({"type": "http.response.body", "body": part, "more_body": True})
        except (TimeoutError, Unavailable) as error:
            raise ClientLeft from error

    def _disconnect(self, size: int, oldest_first: Iterable[HeldResponse], now: float) -> None:
        """Free `size` bytes by disconnecting the oldest of these.

        Raises:
            Unavailable: those that are old enough are too small.
        """
        freed = 0
        cut: list[HeldResponse] = []
        for held in oldest_first:
            if freed >= size or held.since + READING_SECONDS > now:
                break
            if held.sending is not None:
                cut.append(held)
                freed += held.size
        if freed < size:
            raise Unavailable(TOO_MUCH)
        for held in cut:
            assert held.sending is not None
            with suppress(RuntimeError):  # its own time limit has just passed
                held.sending.reschedule(now)
            self._forget(held)

    def _forget(self, held: HeldResponse) -> None:
        if held not in self._held:
            return
        del self._held[held]
        self._bytes -= held.size
        self._bytes_of_user[held.user_id] -= held.size
        if not self._bytes_of_user[held.user_id]:
            del self._bytes_of_user[held.user_id]


class CountedResponse(Response):
    """JSON; a large one counts as unread until its client has read it."""

    media_type = "application/json"

    def __init__(
        self, content: bytes, headers: dict[str, str], unread: UnreadResponses, user_id: int
    ) -> None:
        super().__init__(content, headers=headers)
        self._unread = unread
        self._user_id = user_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        content = bytes(self.body)
        if len(content) <= LARGE_BYTES:
            await super().__call__(scope, receive, send)
            return
        with self._unread.hold(self._user_id, len(content)) as held:
            await self._unread.send(held, send, 200, self.raw_headers, content)
