"""The rule of a sale, as properties."""

from hypothesis import given
from hypothesis import strategies as st

from purchase_worker.decision import (
    NOT_ENOUGH_TICKETS,
    OVER_USER_LIMIT,
    Decision,
    Inventory,
    Request,
    decide,
)

requests = st.lists(
    st.builds(
        Request,
        id=st.uuids().map(str),
        user_id=st.integers(1, 5),
        quantity=st.integers(1, 12),
        user_limit=st.none() | st.integers(1, 15),
    ),
    max_size=40,
)
inventories = st.builds(Inventory, left=st.integers(0, 80), decisions=st.integers(0, 10**9))
holdings = st.dictionaries(st.integers(1, 5), st.integers(0, 15))


def confirmed(decisions: list[Decision]) -> list[Decision]:
    return [d for d in decisions if d.reason is None]


@given(inventories, holdings, requests, st.data())
def test_splitting_a_batch_anywhere_changes_no_decision(
    inventory: Inventory, held: dict[int, int], asked: list[Request], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(asked)))
    whole = decide(inventory, held, asked)
    first = decide(inventory, held, asked[:at])
    second = decide(first.inventory, first.held, asked[at:])
    assert first.decisions + second.decisions == whole.decisions
    assert (second.inventory, second.held) == (whole.inventory, whole.held)


@given(inventories, holdings, requests)
def test_never_sells_beyond_what_is_left(
    inventory: Inventory, held: dict[int, int], asked: list[Request]
) -> None:
    outcome = decide(inventory, held, asked)
    sold = sum(d.request.quantity for d in confirmed(outcome.decisions))
    assert sold + outcome.inventory.left == inventory.left
    assert all(d.left_after >= 0 for d in outcome.decisions)


@given(inventories, holdings, requests)
def test_no_user_gets_beyond_a_limit(
    inventory: Inventory, held: dict[int, int], asked: list[Request]
) -> None:
    has = dict(held)
    for d in confirmed(decide(inventory, held, asked).decisions):
        has[d.request.user_id] = has.get(d.request.user_id, 0) + d.request.quantity
        assert d.request.user_limit is None or has[d.request.user_id] <= d.request.user_limit


@given(inventories, holdings, requests)
def test_every_request_gets_one_decision_with_the_next_number(
    inventory: Inventory, held: dict[int, int], asked: list[Request]
) -> None:
    decisions = decide(inventory, held, asked).decisions
    assert [d.request for d in decisions] == asked
    assert [d.number for d in decisions] == [
        inventory.decisions + nth for nth in range(1, len(asked) + 1)
    ]


@given(inventories, holdings, requests)
def test_a_request_is_rejected_only_for_its_reason(
    inventory: Inventory, held: dict[int, int], asked: list[Request]
) -> None:
    left = inventory.left
    for d in decide(inventory, held, asked).decisions:
        if d.reason == NOT_ENOUGH_TICKETS:
            assert d.request.quantity > left
        else:
            assert d.request.quantity <= left
        left = d.left_after


def buyer(user_id: int, quantity: int, user_limit: int | None = None) -> Request:
    return Request(f"{user_id}-{quantity}", user_id, quantity, user_limit)


def test_a_request_that_does_not_fit_is_rejected_whole_and_a_smaller_one_still_fits() -> None:
    outcome = decide(Inventory(3, 0), {}, [buyer(1, 2), buyer(2, 2), buyer(3, 1)])
    assert [d.reason for d in outcome.decisions] == [None, NOT_ENOUGH_TICKETS, None]
    assert [d.left_after for d in outcome.decisions] == [1, 1, 0]


def test_what_a_user_holds_already_counts_towards_the_limit() -> None:
    outcome = decide(Inventory(10, 7), {1: 3}, [buyer(1, 2, 4), buyer(1, 1, 4), buyer(1, 1, 4)])
    assert [d.reason for d in outcome.decisions] == [OVER_USER_LIMIT, None, OVER_USER_LIMIT]


def test_the_limit_frozen_with_each_request_is_the_one_that_counts() -> None:
    outcome = decide(Inventory(10, 0), {}, [buyer(1, 2, 2), buyer(1, 2, None)])
    assert [d.reason for d in outcome.decisions] == [None, None]
