"""Bounds the memory of answers that clients do not read, or read slowly.

What the transport cannot pass on is kept in memory until the client has read it. So a large answer
is sent in pieces, and counted while it is held. Where too much is held, those are cut off that have
been reading longest: a client that reads has an answer within a second, and one that does not read
has the oldest.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from starlette.types import Send

from shared.errors import ClientLeft, Unavailable

# Smaller ones are left to the transport, which keeps as much of every answer.
LARGE_BYTES = 65_536
PIECE_BYTES = 32_768
# Of all that is held, one user's answers may take this part.
SHARE_OF_USER = 8
# Nobody is cut off before.
READING_SECONDS = 1.0
TOO_MUCH = "Too many answers wait to be read; read those that you asked for, and try again."

Headers = Iterable[tuple[bytes, bytes]]


class HeldAnswer:
    """An answer in memory. `sending`: its limit of time, once it is being sent."""

    def __init__(self, user_id: int, size: int, since: float) -> None:
        self.user_id = user_id
        self.size = size
        self.since = since
        self.sending: asyncio.Timeout | None = None


class UnreadAnswers:
    """The answers that this process holds.

    Args:
        max_bytes: of all of them.
        timeout_seconds: in which a client has to take a large answer.
    """

    def __init__(self, max_bytes: int, timeout_seconds: float) -> None:
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds
        # The oldest first.
        self._held: dict[HeldAnswer, None] = {}
        self._bytes = 0
        self._bytes_of_user: Counter[int] = Counter()

    @contextmanager
    def hold(self, user_id: int, size: int) -> Iterator[HeldAnswer]:
        """Within, an answer of so many bytes is held for its user.

        Raises:
            Unavailable: this user, or everybody, has too much to read already.
        """
        now = asyncio.get_running_loop().time()
        mine = self._bytes_of_user[user_id]
        above_share = min(mine, mine + size - self._max_bytes // SHARE_OF_USER)
        if above_share > 0:
            self._cut_off(above_share, [one for one in self._held if one.user_id == user_id], now)
        # However large it is, one alone is let through.
        above_all = min(self._bytes, self._bytes + size - self._max_bytes)
        if above_all > 0:
            self._cut_off(above_all, self._held, now)
        held = HeldAnswer(user_id, size, now)
        self._held[held] = None
        self._bytes += size
        self._bytes_of_user[user_id] += size
        try:
            yield held
        finally:
            self._forget(held)

    async def send(
        self, held: HeldAnswer, send: Send, status: int, headers: Headers, content: bytes
    ) -> None:
        """Send an answer that is held, as fast as its client reads.

        Raises:
            ClientLeft: it did not read it in time, or was cut off.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds) as held.sending:
                await send({"type": "http.response.start", "status": status, "headers": headers})
                for at in range(0, len(content), PIECE_BYTES):
                    # Copied, so that the last piece does not keep the whole in the transport.
                    piece = content[at : at + PIECE_BYTES]
                    more = at + PIECE_BYTES < len(content)
                    await send({"type": "http.response.body", "body": piece, "more_body": more})
        except TimeoutError as error:
            raise ClientLeft from error

    def _cut_off(self, size: int, oldest_first: Iterable[HeldAnswer], now: float) -> None:
        """Make so much room by cutting off the oldest of these.

        Raises:
            Unavailable: none of them is old enough, or they do not make enough room.
        """
        freed = 0
        cut: list[HeldAnswer] = []
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
            with suppress(RuntimeError):  # its own time is over just now
                held.sending.reschedule(now)
            self._forget(held)

    def _forget(self, held: HeldAnswer) -> None:
        if held not in self._held:
            return
        del self._held[held]
        self._bytes -= held.size
        self._bytes_of_user[held.user_id] -= held.size
        if not self._bytes_of_user[held.user_id]:
            del self._bytes_of_user[held.user_id]
