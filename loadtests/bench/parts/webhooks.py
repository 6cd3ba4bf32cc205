"""What webhooks cost those who buy: purchases at a fixed rate, with and without a hundred of them.

Receivers and the generator have the same two cores as the system; real ones do not. So in a third
kind of turn the receivers get as many requests of that size from elsewhere, without webhooks.
"""

import os
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import msgspec
from sqlalchemy import text

from loadtests.baselines.receivers import NICENESS, Received
from loadtests.bench.load.loops import intended_moments, prepare_generator, run_open_loop
from loadtests.bench.load.requests import Load
from loadtests.bench.load.tally import LoadRun
from loadtests.bench.report.figures import Figure, at_most, percent_figure
from loadtests.bench.system.baseline import Server, running_server
from loadtests.bench.system.processes import cpu_seconds
from loadtests.bench.system.rows import add_ticket_types, event_of
from loadtests.bench.turns.bench import Bench
from loadtests.spawned import spawned_process

PER_SECOND = 1_000
# Half of them hang.
WEBHOOKS = 100
WAIT_SECONDS = 10
RECEIVED_WITHIN_SECONDS = 60.0
POLL_SECONDS = 0.05
WITHOUT, WITH, RECEIVERS = "without", "with", "receivers alone"

ADD_WEBHOOKS = text("""
WITH added AS (
    INSERT INTO webhooks (user_id, event_id, url, kinds)
    SELECT owner_id, id, :url || CASE n % 2 WHEN 0 THEN '/hang/' ELSE '/' || id || '/' END || n,
           enum_range(NULL::entry_kind)
    FROM events, generate_series(1, :count) n WHERE id = :event
    RETURNING id, event_id
), secrets AS (
    INSERT INTO webhook_secrets (webhook_id, secret) SELECT id, uuid_send(gen_random_uuid())
    || uuid_send(gen_random_uuid()) FROM added
)
INSERT INTO webhook_cursors (webhook_id, event_id, number)
SELECT added.id, event_id, number FROM added JOIN lanes USING (event_id)
""")
NUMBER = text("SELECT number FROM lanes WHERE event_id = :event")
END_WEBHOOKS = text("""
UPDATE webhooks SET disabled_at = now(), disabled_reason = 'owner' WHERE disabled_at IS NULL
""")
FAILED = text("""
SELECT count(*) FROM webhook_cursors WHERE event_id = :event AND failures > 0
""")


class Turn(msgspec.Struct, frozen=True):
    """`received`: of each receiver that answers; `cpu`: seconds by what has taken them."""

    run: LoadRun
    cpu: dict[str, float]
    lag_seconds: float = 0.0
    received: list[Received] = []


class _Turns:
    def __init__(self, bench: Bench, server: Server, elsewhere: ProcessPoolExecutor) -> None:
        self._bench = bench
        self._server = server
        self._elsewhere = elsewhere
        self._seed = 0
        self._newest_with: Turn | None = None

    def without(self) -> Turn:
        return Turn(*self._offer(self._new_ticket_type()))

    def with_webhooks(self) -> Turn:
        """All of which are new."""
        engine, hot = self._bench.system.engine, self._new_ticket_type()
        event = event_of(engine, hot)
        url = f"http://127.0.0.1:{self._server.port}"
        with engine.begin() as connection:
            connection.execute(ADD_WEBHOOKS, {"event": event, "url": url, "count": WEBHOOKS})
        self._sell_one(hot)
        self._received(event)  # by then all are connected, and half of them hang
        before = self._cpu()
        run, _ = self._offer(hot)
        ended_at = run.began_at + run.seconds
        received = self._received(event)
        cpu = self._cpu_since(before)
        self._end_webhooks(event)
        lag = max((each.at for each in received), default=ended_at) - ended_at
        self._newest_with = Turn(run, cpu, max(0.0, lag), received)
        return self._newest_with

    def receivers_alone(self) -> Turn:
        """They get from elsewhere what they got in the last turn with webhooks."""
        was = self._newest_with
        assert was is not None
        seconds = self._bench.sizes.latency_seconds
        deliveries = sum(each.deliveries for each in was.received)
        size = sum(each.size for each in was.received) // deliveries
        load = Load(
            method="POST",
            paths=[f"/elsewhere/{n}" for n in range(WEBHOOKS // 2)],
            tokens=["none"],
            bodies=[b"-" * size],
            expected=frozenset({204}),
        )
        moments = intended_moments(deliveries / seconds, seconds, self._seed)
        sending = self._elsewhere.submit(run_open_loop, self._server.port, load, moments)
        turn = self.without()
        self._bench.checked(sending.result())
        return turn

    def _new_ticket_type(self) -> int:
        """Of an event of its own, of which one is sold."""
        (ticket_type,) = add_ticket_types(self._bench.system.engine, 1)
        self._sell_one(ticket_type)
        return ticket_type

    def _sell_one(self, ticket_type: int) -> None:
        decisions = self._bench.system.decisions()
        self._bench.system.wait_for_decisions(decisions + self._bench.buy(ticket_type, 1))

    def _offer(self, ticket_type: int) -> tuple[LoadRun, dict[str, float]]:
        system = self._bench.system
        decisions, before = system.decisions(), self._cpu()
        self._seed += 1
        moments = intended_moments(PER_SECOND, self._bench.sizes.latency_seconds, self._seed)
        run = self._bench.open(self._bench.buying_and_waiting([ticket_type], WAIT_SECONDS), moments)
        system.wait_for_decisions(decisions + run.answered)
        return run, self._cpu_since(before)

    def _received(self, event: int) -> list[Received]:
        """Of each that answers, once all have every entry.

        Raises:
            TimeoutError: they do not come.
            RuntimeError: one came in another order.
        """
        with self._bench.system.engine.connect() as connection:
            last = connection.execute(NUMBER, {"event": event}).scalar_one()
        deadline = time.monotonic() + RECEIVED_WITHIN_SECONDS
        while True:
            tallies = self._tallies(event)
            if len(tallies) == WEBHOOKS // 2 and all(each.last == last for each in tallies):
                break
            if time.monotonic() > deadline:
                raise TimeoutError("Some receivers have not got every entry.")
            time.sleep(POLL_SECONDS)
        if any(
            each.gaps or each.first != 3 for each in tallies
        ):  # after what was issued, and sold at once
            raise RuntimeError("A receiver got entries in another order, or with gaps.")
        return tallies

    def _tallies(self, event: int) -> list[Received]:
        found = msgspec.json.decode(self._ask("/"), type=dict[str, Received])
        return [each for path, each in found.items() if path.startswith(f"/{event}/")]

    def _end_webhooks(self, event: int) -> None:
        """And wait until the sender has no request of them under way.

        Raises:
            RuntimeError: the others did not hang.
        """
        engine = self._bench.system.engine
        with engine.begin() as connection:
            connection.execute(END_WEBHOOKS)
            if connection.execute(FAILED, {"event": event}).scalar_one():
                raise RuntimeError("A receiver failed that should hang.")
        self._ask("/end")
        deadline = time.monotonic() + RECEIVED_WITHIN_SECONDS
        while time.monotonic() < deadline:
            with engine.connect() as connection:
                if connection.execute(FAILED, {"event": event}).scalar_one() == WEBHOOKS // 2:
                    return
            time.sleep(POLL_SECONDS)
        raise RuntimeError("Not all receivers that should hang had a request.")

    def _ask(self, path: str) -> bytes:
        url = f"http://127.0.0.1:{self._server.port}{path}"
        with urllib.request.urlopen(url, timeout=WAIT_SECONDS) as response:
            body: bytes = response.read()
        return body

    def _cpu(self) -> dict[str, float]:
        pids = self._bench.system.pids
        return {
            "sender": cpu_seconds([pids["sender-1"]]),
            "postgres": cpu_seconds([pids["postgres"]]),
            "receivers": cpu_seconds(self._server.pids),
        }

    def _cpu_since(self, before: dict[str, float]) -> dict[str, float]:
        return {name: seconds - before[name] for name, seconds in self._cpu().items()}


def measure(bench: Bench) -> list[Figure]:
    turns: dict[str, list[Turn]] = {WITHOUT: [], WITH: [], RECEIVERS: []}
    with (
        running_server("loadtests.baselines.receivers", 1) as server,
        spawned_process(_prepare_elsewhere) as elsewhere,
    ):
        elsewhere.submit(_prepare_elsewhere).result()  # its start takes a core for a second
        taking = _Turns(bench, server, elsewhere)
        kinds: dict[str, Callable[[], Turn]] = {
            WITHOUT: taking.without,
            WITH: taking.with_webhooks,
            RECEIVERS: taking.receivers_alone,
        }
        for number in range(bench.sizes.webhook_rounds):
            for kind in kinds if number % 2 == 0 else reversed(kinds):
                turn = kinds[kind]()
                turns[kind].append(turn)
                took = "  ".join(f"{name} {seconds:.2f} s" for name, seconds in turn.cpu.items())
                bench.say(
                    f"  {kind:<16}  p50 {turn.run.latency.p50_ms:6.1f} ms"
                    f"  p99 {turn.run.latency.p99_ms:6.1f} ms"
                    f"  lag {turn.lag_seconds:4.2f} s  CPU: {took}"
                )
    return [*_latencies(turns), *_costs(turns[WITHOUT], turns[WITH])]


def _prepare_elsewhere() -> None:
    prepare_generator()
    os.nice(NICENESS)


def _latencies(turns: dict[str, list[Turn]]) -> list[Figure]:
    p99 = {kind: [turn.run.latency.p99_ms for turn in of] for kind, of in turns.items()}
    labels = {
        WITHOUT: "without webhooks",
        WITH: f"with {WEBHOOKS} webhooks, half of them hanging",
        RECEIVERS: "with as many requests to their receivers from elsewhere",
    }
    return [
        *(
            Figure(
                name=f"webhooks_{kind.replace(' ', '_')}_{field}",
                label=f"{PER_SECOND:,}/s until decided, {labels[kind]}, {field[:3]}",
                unit="ms",
                values=[getattr(turn.run.latency, field) for turn in turns[kind]],
            )
            for kind in turns
            for field in ("p50_ms", "p99_ms")
        ),
        percent_figure(
            "webhooks_p99_with_of_without_percent",
            "p99 with webhooks, of that without",
            p99[WITH],
            p99[WITHOUT],
            at_most(105),
        ),
        percent_figure(
            "webhooks_p99_with_of_receivers_alone_percent",
            "p99 with webhooks, of that with requests from elsewhere",
            p99[WITH],
            p99[RECEIVERS],
        ),
    ]


def _costs(without: list[Turn], turns: list[Turn]) -> list[Figure]:
    def cost(name: str, label: str, of: list[Turn], whose: str) -> Figure:
        values = [1e6 * turn.cpu[whose] / turn.run.answered for turn in of]
        label = f"CPU of {label}, for 1,000 purchases"
        return Figure(name=f"webhooks_cpu_of_{name}_ms", label=label, unit="ms", values=values)

    return [
        cost("sender", f"the sender, to {WEBHOOKS // 2} receivers", turns, "sender"),
        cost("postgres_with", "PostgreSQL with webhooks", turns, "postgres"),
        cost("postgres_without", "PostgreSQL without webhooks", without, "postgres"),
        cost("receivers", "the receivers", turns, "receivers"),
        Figure(
            name="webhooks_lag_seconds",
            label="until all receivers have the last entry",
            unit="s",
            values=[turn.lag_seconds for turn in turns],
        ),
        Figure(
            name="webhooks_entries_of_a_delivery",
            label="entries in a delivery",
            unit="",
            values=[
                WEBHOOKS // 2 * turn.run.answered / sum(each.deliveries for each in turn.received)
                for turn in turns
            ],
        ),
    ]
