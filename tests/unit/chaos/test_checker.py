"""The checker of fault tests: it passes a sale that went well, and names each promise broken."""

from dataclasses import replace

import pytest

from tests.chaos.checker import Violation, check, goes_on, is_unavailable
from tests.chaos.history import (
    Attempt,
    Counter,
    Deliveries,
    Evidence,
    Fate,
    History,
    HoldEnd,
    Lane,
    Outcome,
    Pulse,
    Row,
    Sighting,
    Window,
)


def attempt(
    n: int,
    fate: Fate = Fate.ACKNOWLEDGED,
    status: int | None = 202,
    code: str | None = None,
) -> Attempt:
    """The n-th request, sent at second n and answered half a second later."""
    known = f"purchase-{n}" if fate is Fate.ACKNOWLEDGED else None
    return Attempt(
        request_id=f"request-{n}",
        user_id=n,
        lines=[[7, 1], [8, 2]],
        key=f"key-{n}",
        sent_at=n,
        answered_at=n + 0.5,
        fate=fate,
        status=status,
        purchase_id=known,
        code=code,
    )


def row(n: int) -> Row:
    """The n-th request's purchase: of five tickets of type 8, the first two buyers get two each."""
    confirmed = n <= 2
    return Row(
        id=f"purchase-{n}",
        request_id=f"request-{n}",
        user_id=n,
        event_id=5,
        lines=[[7, 1], [8, 2]],
        key=f"key-{n}",
        status="confirmed" if confirmed else "rejected",
        reason=None if confirmed else "not_enough_tickets",
        decided_at=f"second {n}",
        number=n + 1,
        changes=[[7, -1], [8, -2]] if confirmed else [[7, 0], [8, 0]],
    )


ONE_END = "a payment and a hold have one outcome"
ATTEMPTS = [attempt(n) for n in (1, 2, 3)]
ROWS = [row(n) for n in (1, 2, 3)]
COUNTER = Counter(ticket_type_id=8, issued=5, held=0, sold=4)
# The first entry issued the tickets.
LANE = Lane(event_id=5, number=4, numbers=[1, 2, 3, 4])
SEEN = Sighting("purchase-1", Outcome("confirmed", None, "second 1"), seen_at=1.4)


def sale(
    attempts: list[Attempt] = ATTEMPTS,
    rows: list[Row] = ROWS,
    counter: Counter = COUNTER,
    lane: Lane = LANE,
    sightings: tuple[Sighting, ...] = (SEEN,),
    published_too_early: tuple[str, ...] = (),
    replay: tuple[str, ...] = (),
    *,
    received: tuple[int, ...] = (1, 2, 1, 2, 3),
    received_kind: str = "confirmed",
) -> Evidence:
    history = History(list(attempts), list(sightings), list(published_too_early))
    ledger = [{"number": number, "kind": "confirmed"} for number in (1, 2, 3)]
    entries = [{"number": number, "kind": received_kind} for number in received]
    deliveries = [Deliveries(5, entries, ledger)]
    return Evidence(history, rows, [counter], [lane], list(replay), deliveries)


def with_row(n: int, **changes: object) -> list[Row]:
    return [replace(row, **changes) if row.id == f"purchase-{n}" else row for row in ROWS]  # type: ignore[arg-type]


def promises(violations: list[Violation]) -> set[str]:
    return {violation.promise for violation in violations}


def test_a_sale_that_went_well_breaks_no_promise() -> None:
    assert check(sale()) == []


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "not_enough_tickets"),
        (400, "all_held"),
        (400, "over_user_limit"),
        (408, "body_too_slow"),
    ],
)
def test_a_buyer_may_be_refused_what_there_is_not(status: int, code: str) -> None:
    assert check(sale([*ATTEMPTS, attempt(4, Fate.ERROR, status, code)])) == []


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "invalid"),
        (400, None),
        (400, "sale_closed"),
        (401, "token_not_valid"),
        (403, "not_your_event"),
        (404, "not_found"),
        (422, "idempotency_key_reused"),
        (429, "too_many_requests"),
        (200, None),
    ],
)
def test_a_buyer_who_is_refused_without_a_reason_is_named(status: int, code: str | None) -> None:
    (violation,) = check(sale([*ATTEMPTS, attempt(4, Fate.ERROR, status, code)]))
    assert violation == Violation(
        "nobody is refused without a reason", f"1 requests were answered with {status} {code}"
    )


def test_a_request_without_an_answer_may_have_been_stored_or_not() -> None:
    unknown = attempt(3, Fate.UNKNOWN, None)
    assert check(sale([*ATTEMPTS[:2], unknown])) == []
    two_decided = Lane(5, 3, [1, 2, 3])
    assert check(sale([*ATTEMPTS[:2], unknown], ROWS[:2], lane=two_decided)) == []


@pytest.mark.parametrize(
    ("promise", "evidence"),
    [
        ("never oversold", sale(counter=replace(COUNTER, issued=3))),
        ("never oversold", sale(counter=replace(COUNTER, sold=2))),
        ("nothing acknowledged is lost", sale(rows=ROWS[:2])),
        ("nothing acknowledged is lost", sale(rows=with_row(2, lines=[[7, 1], [8, 1]]))),
        ("all is decided", sale(rows=with_row(3, status="queued", number=None))),
        ("one decision each", sale(rows=[*ROWS, replace(row(3), number=5)])),
        ("one decision each", sale(lane=replace(LANE, numbers=[1, 2, 3, 3]))),
        ("one decision each", sale(lane=replace(LANE, number=5))),
        ("all lines of a purchase or none", sale(rows=with_row(2, changes=[[7, -1], [8, 0]]))),
        ("all lines of a purchase or none", sale(rows=with_row(3, changes=[[7, 0], [8, -2]]))),
        ("an unknown answer is never half done", sale(rows=with_row(3, request_id="unknown"))),
        (
            "an unknown answer is never half done",
            sale([*ATTEMPTS[:2], attempt(3, Fate.ERROR, 400, "all_held")]),
        ),
        (
            "an unknown answer is never half done",
            sale([*ATTEMPTS[:2], attempt(3, Fate.UNKNOWN, None)], with_row(3, key=None)),
        ),
        ("an outcome seen never changes", sale(rows=with_row(1, decided_at="second 2"))),
        ("an outcome seen never changes", sale(rows=with_row(1, status="rejected"))),
        ("an outcome seen never changes", sale(rows=ROWS[1:])),
        ("Redis is never ahead of PostgreSQL", sale(published_too_early=("purchase-1",))),
        ("receivers get every entry in order", sale(received=(1, 2))),
        ("receivers get every entry in order", sale(received=(1, 3, 2, 3))),
        ("receivers get every entry in order", sale(received=(1, 2, 3, 4))),
        ("receivers get every entry in order", sale(received_kind="rejected")),
        ("the replay gives the same outcomes", sale(replay=("outcomes: not what the rule gives",))),
        ("the same key gives the same purchase", sale(rows=[*ROWS, replace(row(3), id="twin")])),
        (
            "the same key gives the same purchase",
            sale([*ATTEMPTS, replace(ATTEMPTS[2], purchase_id="purchase-2")]),
        ),
        ("a fault is answered with 503 at worst", sale([*ATTEMPTS, attempt(4, Fate.UNKNOWN, 500)])),
    ],
)
def test_each_broken_promise_is_named(promise: str, evidence: Evidence) -> None:
    assert promise in promises(check(evidence))


HELD = [
    replace(row(1), status="held", ended="confirmed", paid_by="pay_1"),
    replace(row(2), status="held"),
    row(3),
]
PAID = HoldEnd("purchase-1", "confirm", "pay_1", 200)
RELEASE_REFUSED = HoldEnd("purchase-1", "release", "", 409)


def held_sale(
    *hold_ends: HoldEnd, rows: list[Row] = HELD, held: int = 2, seen: str = "held"
) -> Evidence:
    counter = Counter(ticket_type_id=8, issued=5, held=held, sold=2)
    sightings = (Sighting("purchase-1", Outcome(seen, None, "second 1"), seen_at=1.4),)
    evidence = sale(rows=rows, counter=counter, sightings=sightings)
    evidence.history.hold_ends.extend(hold_ends)
    return evidence


@pytest.mark.parametrize("seen", ["held", "confirmed"])
def test_a_sale_with_holds_that_went_well_breaks_no_promise(seen: str) -> None:
    assert check(held_sale(PAID, RELEASE_REFUSED, seen=seen)) == []


@pytest.mark.parametrize(
    ("promise", "evidence"),
    [
        ("never oversold", held_sale(PAID, held=0)),
        ("never oversold", held_sale(rows=[*HELD[:2], replace(row(3), status="held")], held=4)),
        ("an outcome seen never changes", held_sale(seen="released")),
        (
            "all lines of a purchase or none",
            held_sale(rows=[replace(HELD[0], changes=[]), *HELD[1:]]),
        ),
        (ONE_END, held_sale(replace(PAID, status=409))),
        (ONE_END, held_sale(replace(PAID, status=500))),
        (ONE_END, held_sale(replace(PAID, purchase_id="purchase-2"))),
        (ONE_END, held_sale(replace(PAID, reference="pay_2"))),
        (ONE_END, held_sale(replace(RELEASE_REFUSED, status=200))),
    ],
)
def test_each_promise_of_a_hold_is_named(promise: str, evidence: Evidence) -> None:
    assert promise in promises(check(evidence))


def test_overlapping_requests_may_be_decided_in_any_order() -> None:
    overlapping = [replace(ATTEMPTS[0], answered_at=2.1), *ATTEMPTS[1:]]
    swapped = [replace(ROWS[0], number=3), replace(ROWS[1], number=2), ROWS[2]]
    assert "first come, first served" not in promises(check(sale(overlapping, swapped)))
    assert "first come, first served" in promises(check(sale(ATTEMPTS, swapped)))


def test_sales_that_go_on_are_accepted_and_decided_while_the_fault_lasts() -> None:
    assert goes_on(sale(), Window(1.0, 2.0)) == []
    assert promises(goes_on(sale(), Window(1.0, 1.2))) == {"sales go on"}
    assert promises(goes_on(sale(), Window(2.0, 3.0))) == {"sales go on"}


def test_without_a_database_every_answer_is_a_503_and_soon() -> None:
    window = Window(1.0, 9.0)
    refused = attempt(1, Fate.UNAVAILABLE, 503)
    assert is_unavailable(sale([refused]), window) == []
    assert is_unavailable(sale([]), window)
    assert is_unavailable(sale([refused, attempt(2)]), window)
    assert is_unavailable(sale([replace(refused, answered_at=3.5)]), window)


@pytest.mark.parametrize(("fate", "status"), [(Fate.ACKNOWLEDGED, 202), (Fate.UNKNOWN, None)])
def test_an_answer_that_comes_after_the_healing_was_late(fate: Fate, status: int | None) -> None:
    refused = attempt(2, Fate.UNAVAILABLE, 503)
    late = replace(attempt(1, fate, status), answered_at=7.0)
    (found,) = is_unavailable(sale([refused, late]), Window(1.0, 4.0))
    assert found.detail == "the answer took 3.0 s, 1 times"
    assert is_unavailable(sale([refused, late]), Window(1.0, 2.9)) == []


def test_a_slow_machine_excuses_a_late_refusal_and_a_gateway_that_hangs_does_not() -> None:
    window = Window(1, 9)
    late = replace(attempt(2, Fate.UNAVAILABLE, 503), answered_at=4.5)
    slow = History([late], [], pulses=[Pulse(3, 3.6)])
    assert is_unavailable(Evidence(slow, [], []), window) == []
    slow_before = History([late], [], pulses=[Pulse(0.1, 0.7)])
    assert is_unavailable(Evidence(slow_before, [], []), window)
    hangs = History([replace(late, answered_at=8.5)], [], pulses=[Pulse(2, 8)])
    assert is_unavailable(Evidence(hangs, [], []), window)
