"""The line to the broker, which knows a wake-up when it sees one and can lose it on the way."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import hiredis
import redis

from shared.messaging.celery_client import PURCHASES_QUEUE
from tests.support.line import CHUNK_BYTES, Line

# What becomes of a wake-up: after how many seconds each copy of it arrives. None at all: it is
# lost.
FateOfWakeup = Callable[[], Sequence[float]]
PUSHED_ONE = b":1\r\n"


class WakeupLine(Line):
    """Forwards wake-ups as `fate` says; their sender always gets a success."""

    def __init__(self, target_port: int, broker_url: str) -> None:
        super().__init__(target_port)
        self._broker_url = broker_url
        self._late: set[asyncio.Task[None]] = set()
        # None: wake-ups are handed on like everything else.
        self.fate: FateOfWakeup | None = None
        self.tampered_with = 0

    async def _carry_there(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
    ) -> None:
        commands = hiredis.Reader()
        while chunk := await reader.read(CHUNK_BYTES):
            await self._weather_allows(there=True)
            commands.feed(chunk)
            while (command := commands.gets()) is not False:
                if self.fate is not None and command[:2] == [b"LPUSH", PUSHED_TO]:
                    self._tamper(command[2], self.fate())
                    client.write(PUSHED_ONE)
                else:
                    writer.write(hiredis.pack_command(tuple(command)))
            await writer.drain()

    def _tamper(self, wakeup: bytes, arrives_after: Sequence[float]) -> None:
        self.tampered_with += 1
        for seconds in arrives_after:
            task = asyncio.create_task(self._deliver(wakeup, seconds))
            self._late.add(task)
            task.add_done_callback(self._late.discard)

    async def _deliver(self, wakeup: bytes, after_seconds: float) -> None:
        await asyncio.sleep(after_seconds)
        # What the broker refuses is lost, as it would be for its sender.
        with suppress(redis.RedisError):
            async with redis.asyncio.Redis.from_url(self._broker_url) as broker:
                await broker.lpush(PURCHASES_QUEUE, wakeup)


PUSHED_TO = PURCHASES_QUEUE.encode()
