"""Processes of buyers that are killed at random moments, and started again until all have bought.

python -m tests.sdk.buyers '{"url": ..., "tokens": [...], "ticket_type": 1, "clients": 50,
                             "kills": 3, "stored": true, "seed": 7}'

Each token has one process, with that many clients. Each client has a file with its key, and writes
what it has bought into `outcomes` of its process before it is done with the key. It prints how many
times it has killed. Children are forked, so that none has to import anything.
"""

import asyncio
import json
import os
import random
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from eventify_client import AsyncClient, Client, KeyFile
from eventify_client.client import _settings

TIMEOUT_SECONDS = 180.0


class Process:
    """`kills`: it is killed when that many of its clients have bought, a moment later."""

    def __init__(self, name: str, token: str, order: dict[str, Any], chance: random.Random) -> None:
        self.folder = Path(name)
        self.folder.mkdir()
        self.token, self.order, self.chance = token, order, chance
        self.in_threads = int(name) % 2 == 0
        self.outcomes = self.folder / "outcomes"
        self.outcomes.touch()
        self.kills = sorted(
            chance.randrange(order["clients"] * 3 // 4) for _ in range(order["kills"])
        )
        self.pid = 0
        self.kill_at = 0.0

    def bought(self) -> dict[str, str]:
        return dict(line.split() for line in self.outcomes.read_text().splitlines())

    def start(self) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.nice(10)  # who kills comes first
                self.buy_all()
                code = 0
            finally:
                os._exit(code)
        self.kill_at = 0.0

    def step(self) -> bool:
        """Whether it has ended by itself. Kills it where that is due, and starts it again."""
        ended, status = os.waitpid(self.pid, os.WNOHANG)
        if ended:
            if os.WIFSIGNALED(status):
                self.start()
                return False
            assert status == 0, f"{self.folder} failed: {status}"
            return True
        if self.kills and not self.kill_at and len(self.bought()) >= self.kills[0]:
            self.kill_at = time.monotonic() + self.chance.uniform(0, 0.01)
        if self.kill_at and time.monotonic() >= self.kill_at:
            os.kill(self.pid, signal.SIGKILL)
            self.kills.pop(0)
            os.waitpid(self.pid, 0)
            self.start()
        return False

    def buy_all(self) -> None:
        bought = self.bought()
        names = [
            name for n in range(self.order["clients"]) if (name := f"client-{n}") not in bought
        ]
        if self.in_threads:
            with ThreadPoolExecutor(len(names) or 1) as pool:
                list(pool.map(self.buy, names))
        else:
            asyncio.run(self.buy_in_tasks(names))

    async def buy_in_tasks(self, names: set[str]) -> None:
        async def buy(name: str) -> None:
            async with AsyncClient(self.order["url"], token=self.token) as client:
                key = self.key(name)
                purchase = await client.purchases.buy(
                    {self.order["ticket_type"]: 1}, key=key, timeout=TIMEOUT_SECONDS
                )
                self.store(name, purchase.id, key)

        await asyncio.gather(*map(buy, names))

    def buy(self, name: str) -> None:
        with Client(self.order["url"], token=self.token) as client:
            key = self.key(name)
            purchase = client.purchases.buy(
                {self.order["ticket_type"]: 1}, key=key, timeout=TIMEOUT_SECONDS
            )
            self.store(name, purchase.id, key)

    def key(self, name: str) -> KeyFile | None:
        return KeyFile(self.folder / name) if self.order["stored"] else None

    def store(self, name: str, purchase: str, key: KeyFile | None) -> None:
        """As a shop would: first its books, then it is done with the key."""
        with self.outcomes.open("a") as outcomes:
            outcomes.write(f"{name} {purchase}\n")
        if key is not None:
            key.done()


def main(order: dict[str, Any]) -> None:
    _settings()  # the children inherit it
    chance = random.Random(order["seed"])
    processes = [
        Process(str(number), token, order, chance) for number, token in enumerate(order["tokens"])
    ]
    for process in processes:
        process.start()
    running = processes
    while running:
        running = [process for process in running if not process.step()]
        time.sleep(0.002)
    sys.stdout.write(str(sum(order["kills"] - len(process.kills) for process in processes)))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
