"""What each part of the benchmark works with: a system, the load generator, and loads."""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from itertools import chain, count

import msgspec
from sqlalchemy import text

from loadtests.answers import Line
from loadtests.bench.load.loops import intended_moments, run_closed_loop, run_open_loop
from loadtests.bench.load.requests import Load, buying, reading
from loadtests.bench.load.tally import LoadRun
from loadtests.bench.sizes import Sizes
from loadtests.bench.system.eventify import BenchSystem
from loadtests.bench.system.rows import without_limit
from loadtests.selling import PURCHASES, purchase_body

ACCEPTED = 202
WARM_UP_SECONDS = 0.3
# One process of `eventify token` for each core of the machines that the targets are for.
TOKEN_PROCESSES = 2
# For a load with an end of its own.
UNTIL_ALL_SECONDS = 600.0
# The newest purchases of users whose tokens we have, with their users' names.
NEWEST = text("""
SELECT r.id, u.username FROM requests r JOIN users u ON u.id = r.user_id
WHERE u.username LIKE 'buyer%' ORDER BY r.seq DESC LIMIT :count
""")


class Bench:
    """A system under measurement. `errors` collects what was not as expected in it."""

    def __init__(
        self,
        sizes: Sizes,
        system: BenchSystem,
        generator: ProcessPoolExecutor,
        say: Callable[[str], None],
    ) -> None:
        self.sizes = sizes
        self.system = system
        self.say = say
        self.errors: list[str] = []
        self.generator = generator
        self._tokens = self._mint("buyer", sizes.known_tokens)
        self._new_tokens: Iterator[str] = iter(())
        self._numbers = count(1)

    def mint_new_tokens(self, turns: int) -> None:
        """Have the tokens of new users ready for this many turns: 0.6 ms of CPU for each token."""
        total = turns * self.sizes.new_tokens_each_turn
        shares = [(total + n) // TOKEN_PROCESSES for n in range(TOKEN_PROCESSES)]
        names = [f"crowd{next(self._numbers)}-" for _ in shares]
        with ThreadPoolExecutor(TOKEN_PROCESSES) as threads:
            self._new_tokens = chain.from_iterable(list(threads.map(self._mint, names, shares)))

    def _mint(self, name: str, how_many: int) -> list[str]:
        """Tokens of the users NAME1, NAME2 and so on."""
        return self.system.command("token", name, "--count", str(how_many)).splitlines()

    def buy(self, ticket_type: int, count: int) -> int:
        """Buy this often, however long it takes; returns how many purchases were accepted."""
        run = self.closed(self.system.port, self.buying([ticket_type], count), UNTIL_ALL_SECONDS)
        return run.answers.get(ACCEPTED, 0)

    def warm_up(self, port: int, load: Load) -> None:
        self.closed(port, load, WARM_UP_SECONDS)

    def closed(
        self, port: int, load: Load, seconds: float | None = None, connections: int | None = None
    ) -> LoadRun:
        """A run of the closed loop, of the usual length and width unless others are given."""
        running = self.begin_closed(
            port, load, connections or self.sizes.connections, seconds or self.sizes.seconds
        )
        return self.checked(running.result())

    def begin_closed(
        self, port: int, load: Load, connections: int, seconds: float
    ) -> Future[LoadRun]:
        return self.generator.submit(run_closed_loop, port, load, connections, seconds)

    def open(self, load: Load, moments: list[float], slow_seconds: float = math.inf) -> LoadRun:
        """A run of the open loop at the gateways; it keeps the answers that took longer."""
        running = self.generator.submit(
            run_open_loop, self.system.port, load, moments, slow_seconds
        )
        return self.checked(running.result())

    def offered(self, load: Load, rate: int, seed: int, slow_seconds: float = math.inf) -> LoadRun:
        """An open loop of purchases at this rate a second; until all of them are decided."""
        decisions = self.system.decisions()
        moments = intended_moments(rate, self.sizes.latency_seconds, seed)
        run = self.open(load, moments, slow_seconds)
        self.system.wait_for_decisions(decisions + run.answered)
        return run

    def checked(self, run: LoadRun) -> LoadRun:
        """The same run; what was not expected in it is noted."""
        self.errors += run.errors
        return run

    def buying(self, ticket_types: list[int], requests_max: int | None = None) -> Load:
        """Purchases with tokens that were seen before, each with a key of its own."""
        return buying(
            ticket_types, self._tokens, key_prefix=self._key_prefix(), requests_max=requests_max
        )

    def buying_carts(self, ticket_types: list[int]) -> Load:
        """Carts, each with one ticket of each of these ticket types of one event."""
        body = purchase_body([Line(ticket_type, 1) for ticket_type in ticket_types])
        return msgspec.structs.replace(self.buying([]), bodies=[body])

    def buying_and_waiting(self, ticket_types: list[int], seconds: int) -> Load:
        """The same, each answered when it is decided, or after `seconds`."""
        return msgspec.structs.replace(
            self.buying(ticket_types), prefer_wait_seconds=seconds, expected=frozenset({201})
        )

    def buying_without_key(self, ticket_types: list[int]) -> Load:
        """For the straightforward design, which has no keys, and decides in its answer."""
        return buying(ticket_types, self._tokens, expected=frozenset({201}))

    def reading(self, path: str) -> Load:
        return reading([path], self._tokens)

    def polling_newest(self, path_end: str = "") -> Load:
        """Polls of the newest purchases in turn, each by its owner."""
        with self.system.engine.begin() as connection:
            without_limit(connection)
            rows = connection.execute(NEWEST, {"count": self.sizes.polled}).all()
        return reading(
            [f"{PURCHASES}{row.id}/{path_end}" for row in rows],
            [self._token_of(row.username) for row in rows],
        )

    def buying_with_new_tokens(self, ticket_types: list[int]) -> Load:
        """Purchases with a token each that no gateway has seen, and a key each."""
        tokens = [next(self._new_tokens) for _ in range(self.sizes.new_tokens_each_turn)]
        return buying(ticket_types, tokens, key_prefix=self._key_prefix(), requests_max=len(tokens))

    def _token_of(self, buyer: str) -> str:
        return self._tokens[int(buyer.removeprefix("buyer")) - 1]

    def _key_prefix(self) -> str:
        return f"bench-{next(self._numbers)}"
