"""Which commands about purchases are accepted, and the answers to those that the lane refused."""

import re
from collections.abc import Mapping
from decimal import Decimal
from itertools import combinations
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.resolutions.rules import (
    CANCELLED_ITEMS_MAX,
    PROBLEM_OF_REASON,
    Accept,
    Accepted,
    Command,
    Kind,
    Known,
    NothingToDo,
    Standing,
    judge,
    problem_of_refusal,
)
from purchase_worker import decision
from shared.errors import (
    AlreadyCancelled,
    AlreadyConfirmed,
    HoldExpired,
    HoldReleased,
    IdempotencyKeyReused,
    InvalidInput,
    NotConfirmed,
    NotDecided,
    NotFound,
    NotHeld,
    PaymentReferenceUsed,
    PermissionDenied,
    Problem,
    TooManyCancellations,
)
from shared.purchases import Purchase, StoredLine, held, purchase, resolved
from tests.support.services import PROJECT

OWNER, BUYER, STRANGER = 1, 2, 3
EVENT = 7
ID = "01a2035e-7a5b-7c3d-8f4e-2b1a9c8d7e6f"
NOW = "2026-11-22T12:00:00.000000Z"


def bought(
    status: str, reference: str | None = None, cancelled: Mapping[int, int] | None = None
) -> Purchase:
    """Two of type 10 and one of type 11. `cancelled`: None: nothing became of it yet."""
    body = purchase(
        [(10, 2, "25.00"), (11, 1, "12.50")],
        id=ID,
        event=EVENT,
        currency="EUR",
        created_at=NOW,
        status=status,
    )
    if status == "held":
        return held(body, NOW, 5)
    return body if cancelled is None else resolved(body, NOW, reference, cancelled)


def command(kind: Kind, **fields: Any) -> Command:
    terms: dict[Kind, dict[str, Any]] = {
        "confirm": {"payment_reference": "pi_1", "amount": Decimal("62.5"), "currency": "EUR"},
        "release": {},
        "cancel": {"restock": True},
        "extend": {"seconds": 60},
    }
    about = {"event_id": EVENT} if kind == "extend" else {"purchase_id": ID}
    named = {"id": "new", "kind": kind, "user_id": OWNER, "request_id": "r"}
    return Command(**(named | about | terms[kind] | fields))


def standing(purchase: Purchase | None, **fields: Any) -> Standing:
    return Standing(event_id=EVENT, owner_id=OWNER, buyer_id=BUYER, purchase=purchase, **fields)


QUEUED, HELD, REJECTED, PLAIN = map(bought, ("queued", "held", "rejected", "confirmed"))
PAID = bought("confirmed", "pi_1", {})
PAID_OTHERWISE = bought("confirmed", "pi_2", {})
RELEASED, EXPIRED = bought("released", None, {}), bought("expired", None, {})
CANCELLED = bought("cancelled", "pi_1", {10: 2, 11: 1})
PLAIN_CANCELLED = bought("cancelled", None, {10: 2, 11: 1})


@pytest.mark.parametrize(
    ("purchase", "confirm", "release", "cancel"),
    [
        (QUEUED, NotDecided, NotDecided, NotDecided),
        (HELD, Accept, Accept, NotConfirmed),
        (REJECTED, NotHeld, NotHeld, NotConfirmed),
        (PLAIN, NotHeld, NotHeld, Accept),
        (PAID, NothingToDo, AlreadyConfirmed, Accept),
        (PAID_OTHERWISE, AlreadyConfirmed, AlreadyConfirmed, Accept),
        (RELEASED, HoldReleased, NothingToDo, NotConfirmed),
        (EXPIRED, HoldExpired, HoldExpired, NotConfirmed),
        (CANCELLED, NothingToDo, AlreadyConfirmed, AlreadyCancelled),
        (PLAIN_CANCELLED, NotHeld, NotHeld, AlreadyCancelled),
    ],
    ids=lambda value: value.status if isinstance(value, Purchase) else None,
)
def test_a_purchase_as_it_stands_decides(
    purchase: Purchase, confirm: type, release: type, cancel: type
) -> None:
    there = standing(purchase)
    kinds: tuple[Kind, ...] = ("confirm", "release", "cancel")
    answers = [type(judge(command(kind), there)) for kind in kinds]
    assert answers == [confirm, release, cancel]


@pytest.mark.parametrize(
    ("user", "confirm", "release", "cancel", "extend"),
    [
        (OWNER, Accept, Accept, NotConfirmed, Accept),
        (BUYER, PermissionDenied, Accept, PermissionDenied, PermissionDenied),
        (STRANGER, NotFound, NotFound, NotFound, PermissionDenied),
    ],
)
def test_who_may(user: int, confirm: type, release: type, cancel: type, extend: type) -> None:
    kinds: tuple[Kind, ...] = ("confirm", "release", "cancel", "extend")
    answers = [type(judge(command(kind, user_id=user), standing(HELD))) for kind in kinds]
    assert answers == [confirm, release, cancel, extend]
    for kind in kinds:
        assert isinstance(judge(command(kind, user_id=user), Standing()), NotFound)


@pytest.mark.parametrize("purchase", [QUEUED, HELD, PAID, RELEASED])
def test_a_payment_is_of_the_amount_and_currency_of_the_purchase(purchase: Purchase) -> None:
    for fields, named in (
        ({"amount": Decimal("62.49")}, {"amount"}),
        ({"currency": "USD"}, {"currency"}),
        ({"amount": Decimal(0), "currency": "USD"}, {"amount", "currency"}),
    ):
        problem = judge(command("confirm", **fields), standing(purchase))
        assert isinstance(problem, InvalidInput)
        assert (problem.errors or {}).keys() == named


def test_a_confirmation_with_the_same_reference_is_joined_and_of_another_purchase_refused() -> None:
    waiting = Known("earlier", EVENT, ID)
    joined = judge(command("confirm"), standing(HELD, same_payment=waiting))
    assert joined == Accepted("earlier", EVENT)
    of_another = replace(waiting, purchase_id="another")
    refused = judge(command("confirm"), standing(HELD, same_payment=of_another))
    assert isinstance(refused, PaymentReferenceUsed)


def test_a_release_that_waits_is_joined() -> None:
    joined = judge(command("release"), standing(HELD, releasing_id="earlier"))
    assert joined == Accepted("earlier", EVENT)
    assert judge(command("release"), standing(RELEASED, releasing_id="earlier")) == NothingToDo()


def test_a_cancellation_is_of_lines_that_are_left() -> None:
    def cancel(*lines: tuple[int, int], **cancelled: int) -> object:
        wanted = tuple(StoredLine(*line) for line in lines) or None
        so_far = {int(id_.removeprefix("type")): n for id_, n in cancelled.items()}
        return judge(command("cancel", lines=wanted), standing(bought("confirmed", "pi_1", so_far)))

    assert cancel() == Accept(EVENT, [StoredLine(10, 2), StoredLine(11, 1)])
    assert cancel(type10=1, type11=1) == Accept(EVENT, [StoredLine(10, 1)])
    assert cancel((10, 1), type10=1) == Accept(EVENT, [StoredLine(10, 1)])
    for beyond in (cancel((10, 3)), cancel((10, 2), type10=1), cancel((11, 1), (10, 3))):
        assert isinstance(beyond, AlreadyCancelled)
    unknown = cancel((10, 1), (12, 1))
    assert isinstance(unknown, InvalidInput)
    assert (unknown.errors or {}).keys() == {"items.1.ticket_type"}


def test_after_many_cancellations_only_all_the_rest_is_cancelled() -> None:
    partly = bought("confirmed", None, {10: 1})

    def cancel(items: int, *lines: tuple[int, int]) -> object:
        wanted = tuple(StoredLine(*line) for line in lines) or None
        there = standing(partly, cancelled_items=items)
        return judge(command("cancel", lines=wanted), there)

    rest = [StoredLine(10, 1), StoredLine(11, 1)]
    assert cancel(CANCELLED_ITEMS_MAX - 1, (10, 1)) == Accept(EVENT, rest[:1])
    for part in ((10, 1), (11, 1)):
        assert isinstance(cancel(CANCELLED_ITEMS_MAX, part), TooManyCancellations)
    assert cancel(CANCELLED_ITEMS_MAX) == Accept(EVENT, rest)
    assert cancel(CANCELLED_ITEMS_MAX, (11, 1), (10, 1)) == Accept(EVENT, rest[::-1])
    assert isinstance(cancel(CANCELLED_ITEMS_MAX, (10, 2)), AlreadyCancelled)


def test_the_guide_names_each_refusal_after_which_the_same_request_may_be_accepted() -> None:
    paid = [(QUEUED, HELD, PAID, CANCELLED), (QUEUED, HELD, PAID_OTHERWISE)]
    unpaid = [(QUEUED, HELD, RELEASED), (QUEUED, HELD, EXPIRED), (QUEUED, REJECTED)]
    kinds: tuple[Kind, ...] = ("confirm", "release", "cancel")
    changes = [
        (command(kind), standing(now), standing(later))
        for life in [*paid, *unpaid, (QUEUED, PLAIN, PLAIN_CANCELLED)]
        for now, later in combinations(life, 2)
        for kind in kinds
    ]
    of_another = standing(HELD, same_payment=Known("earlier", EVENT, "another"))
    changes.append((command("confirm"), of_another, standing(HELD)))
    many, all_the_rest = (
        standing(bought("confirmed", None, cancelled), cancelled_items=CANCELLED_ITEMS_MAX)
        for cancelled in ({}, {10: 1, 11: 1})
    )
    changes.append((command("cancel", lines=(StoredLine(10, 1),)), many, all_the_rest))
    codes = {
        refused.code
        for wanted, now, later in changes
        if isinstance(refused := judge(wanted, now), Problem)
        and isinstance(judge(wanted, later), Accept)
    }
    guide = (PROJECT / "docs/api.md").read_text()
    _, _, rest = guide.partition("- If a request fails without storing anything")
    listed = set(re.findall(r"`([a-z]+_[a-z_]+)`", rest.partition("\n- ")[0]))
    assert listed == codes


def test_an_earlier_command_with_the_same_key_outranks_every_refusal() -> None:
    keyed = command("confirm", idempotency_key="k", user_id=STRANGER)
    earlier = Known("earlier", EVENT, fingerprint=keyed.fingerprint)
    replay = judge(keyed, standing(EXPIRED, earlier=earlier))
    assert replay == Accepted("earlier", EVENT, replayed=True)
    other = replace(keyed, currency="USD")
    assert isinstance(judge(other, standing(HELD, earlier=earlier)), IdempotencyKeyReused)
    assert isinstance(judge(keyed, standing(HELD, key_is_taken=True)), IdempotencyKeyReused)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "cancel"},
        {"purchase_id": "another"},
        {"event_id": 8},
        {"payment_reference": "pi_2"},
        {"amount": Decimal(1)},
        {"currency": "USD"},
        {"lines": (StoredLine(10, 1),)},
        {"restock": False},
        {"note": "x"},
        {"seconds": 60},
    ],
)
def test_the_fingerprint_covers_path_and_body(change: dict[str, Any]) -> None:
    keyed = command("confirm", idempotency_key="k")
    assert keyed.fingerprint == replace(keyed, id="other", request_id="s").fingerprint
    assert keyed.fingerprint != replace(keyed, **change).fingerprint
    assert command("confirm").fingerprint is None


def test_every_reason_of_the_lane_has_its_problem() -> None:
    reasons = {
        decision.NOT_HELD,
        decision.HOLD_EXPIRED,
        decision.HOLD_RELEASED,
        decision.ALREADY_CONFIRMED,
        decision.ALREADY_CANCELLED,
        decision.EXTENSION_LIMIT,
        decision.NOT_CONFIRMED,
    }
    assert PROBLEM_OF_REASON.keys() == reasons
    for reason, problem in PROBLEM_OF_REASON.items():
        assert problem.code == reason


@pytest.mark.parametrize(
    ("kind", "reason", "purchase", "expected"),
    [
        ("confirm", "already_confirmed", PAID, None),
        ("confirm", "already_confirmed", CANCELLED, None),
        ("confirm", "already_confirmed", PAID_OTHERWISE, AlreadyConfirmed),
        ("confirm", "hold_expired", EXPIRED, HoldExpired),
        ("release", "hold_released", RELEASED, None),
        ("release", "already_confirmed", PAID, AlreadyConfirmed),
        ("cancel", "already_cancelled", PAID, AlreadyCancelled),
    ],
)
def test_what_another_command_did_before_it_is_done(
    kind: str, reason: str, purchase: Purchase, expected: type[Problem] | None
) -> None:
    problem = problem_of_refusal(kind, reason, purchase, "pi_1" if kind == "confirm" else None)
    assert (problem if problem is None else type(problem)) == expected
