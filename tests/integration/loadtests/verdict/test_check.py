"""The check of a load test: each promise is broken on purpose, and each is found broken."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Timer

import msgspec
import pytest
from sqlalchemy import Engine

from loadtests.recording import observations
from loadtests.recording import run as runs
from loadtests.recording.database import DATABASE_URL
from loadtests.recording.observations import Seen
from loadtests.recording.run import (
    OBSERVATIONS_FILE,
    Answers,
    AnswerTimes,
    Moment,
    RecordedRun,
    Thresholds,
)
from loadtests.verdict.check import check
from loadtests.verdict.judge import ExitCode, RunVerdict
from loadtests.verdict.promises import Promise
from purchase_worker.decision import Buy
from purchase_worker.drain import Batch, drain
from purchase_worker.publish.results import body
from shared.config.settings import Settings
from tests.support.factories import (
    add_ticket_type,
    add_user,
    cart,
    entries,
    event_of,
    ignore,
    queue,
    queue_buy,
    queue_resolution,
    tamper,
)
from tests.support.services import PROJECT

# Where nobody decides, what is queued stays so.
DRAIN_SECONDS = 0.3
# The entries before are of the tickets that were issued.
DELETE_A_CONFIRMED = (
    "DELETE FROM requests WHERE id = (SELECT command_id FROM ledger WHERE number = 3)"
)
OF_THE_CART = (
    "UPDATE requests SET items = jsonb_set(items, '{{1,quantity}}', '{quantity}')"
    " WHERE items IS NOT NULL"
)
RUN = RecordedRun(
    started_at="2026-11-22T12:00:00+00:00",
    seconds=2.0,
    host="http://127.0.0.1:8000",
    arguments={},
    ticket_types=[],
    requests=8,
    failures=0,
    users_max=4,
    to_202=AnswerTimes(4, 5.0, 6.0, 7.0),
    to_decision=AnswerTimes(4, 20.0, 30.0, 40.0),
    to_sold_out=None,
    answers=Answers(accepted=4, confirmed=3, rejected=1),
    moments=[Moment(at=0, users=4, requests=8, accepted=4, decided=4, left=1, queued=0)],
    cpu_seconds={"gateway": 1.0},
    thresholds=Thresholds(),
    errors=[],
)


@pytest.fixture(autouse=True)
def nothing_seen_yet() -> Iterator[None]:
    observations.take()
    yield
    observations.take()


def see_outcomes(batch: Batch) -> None:
    """Every buyer is told its outcome, in the words of the worker itself."""
    for part, work, entry in batch.decided:
        command = work.command
        assert isinstance(command, Buy)
        purchase = body(part.lane.event_id, command, work, entry, part.decided_at)
        observations.outcome(purchase.id, msgspec.json.encode(purchase))


@pytest.fixture
def sale(engine: Engine, settings: Settings) -> int:
    """The ticket type of three purchases and a cart, all confirmed, and of one that was rejected.

    All are told so to their buyers.
    """
    ticket_type = add_ticket_type(engine, 8)
    event = event_of(engine, ticket_type)
    other = add_ticket_type(engine, 2, event_id=event)
    singles = [[(ticket_type, quantity)] for quantity in (2, 2, 2, 3)]
    accept(engine, *singles, [(ticket_type, 1), (other, 2)])
    drain(engine, [event], settings, see_outcomes)
    return ticket_type


def accept(engine: Engine, *purchases: list[tuple[int, int]]) -> None:
    """Of each purchase: ticket type and quantity of its lines."""
    for id_ in queue(engine, [cart(add_user(engine), lines) for lines in purchases]):
        observations.accepted(id_)


def checked(
    folder: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    seen: bytes | None = None,
    drain_seconds: float = DRAIN_SECONDS,
) -> RunVerdict:
    """The verdict over what was seen until now, or over what is said to have been."""
    monkeypatch.setenv(DATABASE_URL, settings.database_url)
    (folder / OBSERVATIONS_FILE).write_bytes(seen or observations.take())
    return check(RUN, folder, drain_seconds)


def broken(verdict: RunVerdict) -> set[Promise]:
    return {promise for promise, violations in verdict.broken.items() if violations}


@pytest.mark.usefixtures("sale")
def test_an_honest_sale_is_good_and_everything_was_checked(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict = checked(tmp_path, settings, monkeypatch)
    assert verdict.exit_code is ExitCode.GOOD
    assert broken(verdict) == set()
    assert [verdict.checked[promise] for promise in Promise] == [5, 5, 5, 0, 2, 5]


@pytest.mark.usefixtures("sale")
@pytest.mark.parametrize(
    ("promise", "tampering"),
    [
        (Promise.NEVER_LOST, (DELETE_A_CONFIRMED,)),
        (
            Promise.ONE_OUTCOME,
            (
                (
                    "UPDATE ledger SET kind = 'rejected', reason = 'not_enough_tickets', change = 0"
                    " WHERE number = 3"
                ),
            ),
        ),
        (Promise.ONE_OUTCOME, ("UPDATE batches SET at = at + interval '1 us'",)),
        (Promise.ONE_OUTCOME, (OF_THE_CART.format(quantity=1),)),
        (
            Promise.NEVER_OVERSOLD,
            (
                "ALTER TABLE counters DROP CONSTRAINT counters_never_oversold",
                "UPDATE counters SET sold = issued + 1",
            ),
        ),
        (
            Promise.NEVER_OVERSOLD,
            ("UPDATE requests SET quantity = 9 WHERE kind = 'buy' AND items IS NULL",),
        ),
        (Promise.NEVER_OVERSOLD, (OF_THE_CART.format(quantity=3),)),
        (
            Promise.AUDIT,
            ("UPDATE ledger SET left_after = left_after + 1 WHERE kind = 'confirmed'",),
        ),
    ],
)
def test_a_row_that_breaks_a_promise_is_found(
    engine: Engine,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    promise: Promise,
    tampering: tuple[str, ...],
) -> None:
    tamper(engine, *tampering)
    verdict = checked(tmp_path, settings, monkeypatch)
    assert verdict.exit_code is ExitCode.BROKEN_PROMISE
    assert promise in broken(verdict)
    assert verdict.examples


@pytest.fixture
def held_sale(engine: Engine, settings: Settings) -> Seen:
    """Of two tickets, one was paid, cancelled and sold to another buyer, and one is held.

    Returns what the shop was told of the payment.
    """
    ticket_type = add_ticket_type(engine, 2)
    event = event_of(engine, ticket_type)
    paid, other = (queue_buy(engine, [(ticket_type, 1)], hold_seconds=600) for _ in range(2))
    drain(engine, [event], settings, see_outcomes)
    queue_resolution(engine, "confirm", paid, payment_reference="pay_1")
    drain(engine, [event], settings, ignore)
    tickets = msgspec.json.encode([{"ticket_type": ticket_type, "quantity": 1}]).decode()
    queue_resolution(engine, "cancel", paid, items=tickets, restock=True)
    queue_buy(engine, [(ticket_type, 1)])
    drain(engine, [event], settings, ignore)
    assert {kind for kind, _ in entries(engine, event)} == {
        "issued",
        "held",
        "confirmed",
        "cancelled",
    }
    observations.accepted(other)
    return Seen(id=paid, status="confirmed", payment_reference="pay_1")


def test_holds_payments_and_cancellations_are_added_up(
    settings: Settings, held_sale: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = observations.take() + msgspec.json.encode(held_sale)
    verdict = checked(tmp_path, settings, monkeypatch, seen)
    assert verdict.exit_code is ExitCode.GOOD, verdict.examples
    assert [verdict.checked[promise] for promise in Promise] == [1, 1, 3, 1, 1, 3]


@pytest.mark.parametrize(
    ("promise", "tampering"),
    [
        (
            Promise.PAYMENTS,
            ("UPDATE requests SET payment_reference = 'pay_2' WHERE kind = 'confirm'",),
        ),
        (
            Promise.NEVER_OVERSOLD,
            (
                "ALTER TABLE counters DROP CONSTRAINT counters_never_oversold",
                "UPDATE counters SET held = held + 1",
            ),
        ),
        (Promise.NEVER_OVERSOLD, ("DELETE FROM ledger WHERE kind = 'cancelled'",)),
    ],
)
def test_a_hold_or_payment_that_breaks_a_promise_is_found(
    engine: Engine,
    settings: Settings,
    held_sale: Seen,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    promise: Promise,
    tampering: tuple[str, ...],
) -> None:
    tamper(engine, *tampering)
    verdict = checked(tmp_path, settings, monkeypatch, msgspec.json.encode(held_sale))
    assert promise in broken(verdict)


def test_what_is_still_queued_when_its_time_is_over_was_not_decided(
    engine: Engine,
    settings: Settings,
    sale: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accept(engine, [(sale, 1)])
    verdict = checked(tmp_path, settings, monkeypatch)
    assert verdict.exit_code is ExitCode.BROKEN_PROMISE
    assert broken(verdict) == {Promise.DECIDED}


def test_what_is_decided_within_its_time_breaks_nothing(
    engine: Engine,
    settings: Settings,
    sale: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accept(engine, [(sale, 1)])
    deciding = Timer(DRAIN_SECONDS, drain, (engine, [event_of(engine, sale)], settings, ignore))
    deciding.start()
    verdict = checked(tmp_path, settings, monkeypatch, drain_seconds=20)
    deciding.join()
    assert verdict.exit_code is ExitCode.GOOD


@pytest.mark.usefixtures("sale")
def test_a_buyer_who_was_shown_otherwise_is_found(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    falsified = observations.take().replace(b'"confirmed"', b'"rejected"', 1)
    verdict = checked(tmp_path, settings, monkeypatch, falsified)
    assert broken(verdict) == {Promise.ONE_OUTCOME}


@pytest.mark.usefixtures("sale")
def test_a_database_that_is_away_leaves_every_promise_unchecked(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = settings.model_copy(
        update={"database_url": "postgresql://postgres@127.0.0.1:1/eventify"}
    )
    verdict = checked(tmp_path, nowhere, monkeypatch)
    assert verdict.exit_code is ExitCode.ERRORS
    assert verdict.checked == {}


@pytest.mark.usefixtures("sale")
def test_the_program_exits_by_its_verdict_and_leaves_the_report(
    engine: Engine, settings: Settings, tmp_path: Path
) -> None:
    missed = msgspec.structs.replace(RUN, thresholds=Thresholds(max_p99_ms=39.0))
    runs.write(missed, tmp_path)
    (tmp_path / OBSERVATIONS_FILE).write_bytes(observations.take())
    program = [sys.executable, "-m", "loadtests.verdict.check", str(tmp_path)]
    environment = os.environ | {DATABASE_URL: settings.database_url}

    def ended() -> tuple[int, str]:
        done = subprocess.run(
            program, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout

    exit_code, reported = ended()
    assert exit_code == 3, reported
    assert "p99 from request to decision: 40 ms, over 39 ms" in reported
    summary = msgspec.json.decode((tmp_path / "summary.json").read_bytes())
    assert summary["verdict"]["exit_code"] == 3
    assert (tmp_path / "sale.png").read_bytes().startswith(b"\x89PNG")
    assert len((tmp_path / "moments.csv").read_text().splitlines()) == 1 + len(RUN.moments)

    tamper(engine, DELETE_A_CONFIRMED)
    exit_code, reported = ended()
    assert exit_code == 2, reported
    assert "BROKEN" in reported
