"""The rule of a sale, as properties."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from purchase_worker.decision import (
    ISSUED,
    NOT_ENOUGH_TICKETS,
    OVER_USER_LIMIT,
    REFUSED,
    WITHDRAWN,
    Buy,
    Change,
    Command,
    Entry,
    Issue,
    Line,
    Owned,
    State,
    decide,
)
from shared.purchases import CONFIRMED, REJECTED

TYPES = (1, 2, 3)
USERS = (1, 2, 3, 4)
limits = st.none() | st.integers(1, 15)
lines = st.builds(Line, st.sampled_from(TYPES), st.integers(1, 9), limits)
buys = st.builds(
    Buy,
    id=st.uuids().map(str),
    user_id=st.sampled_from(USERS),
    lines=st.lists(lines, min_size=1, max_size=3, unique_by=lambda line: line.ticket_type_id).map(
        tuple
    ),
    event_limit=limits,
)
issues = st.builds(
    Issue,
    id=st.uuids().map(str),
    ticket_type_id=st.sampled_from(TYPES),
    change=st.integers(-20, 20).filter(bool),
)
commands = st.lists(buys | issues, max_size=40)
by_type = st.dictionaries(st.sampled_from(TYPES), st.integers(0, 40))
times = st.integers(0, 99).map("{:02d}".format)
states = st.builds(
    State,
    number=st.integers(0, 10**9),
    at=times,
    left=by_type,
    owned=st.dictionaries(st.tuples(st.sampled_from(USERS), st.just("")), by_type),
)


def bought(entry: Entry) -> Buy | None:
    """The purchase that the entry confirms."""
    command = entry.command
    return command if isinstance(command, Buy) and entry.kind == CONFIRMED else None


def holdings(held: Owned) -> dict[tuple[int, int], int]:
    """By user and ticket type, without those that hold nothing."""
    return {
        (holder[0], id_): quantity
        for holder, tickets in held.items()
        for id_, quantity in tickets.items()
        if quantity
    }


@given(states, times, commands, st.data())
def test_splitting_a_batch_anywhere_changes_no_entry(
    state: State, at: str, asked: list[Command], data: st.DataObject
) -> None:
    where = data.draw(st.integers(0, len(asked)))
    whole, after = decide(state, at, asked)
    first, between = decide(state, at, asked[:where])
    second, end = decide(between, at, asked[where:])
    assert first + second == whole
    assert end == after


@given(states, times, commands)
def test_never_less_than_nothing_is_left_and_every_ticket_is_accounted_for(
    state: State, at: str, asked: list[Command]
) -> None:
    entries, after = decide(state, at, asked)
    left = Counter(state.left)
    for entry in entries:
        for change in entry.changes:
            left[change.ticket_type_id] += change.change
            assert change.left_after == left[change.ticket_type_id] >= 0
    assert +left == +Counter(after.left)


@given(states, times, commands)
def test_a_purchase_is_confirmed_whole_or_changes_nothing(
    state: State, at: str, asked: list[Command]
) -> None:
    for entry in decide(state, at, asked)[0]:
        if not isinstance(entry.command, Buy):
            continue
        wanted = [(line.ticket_type_id, -line.quantity) for line in entry.command.lines]
        if entry.kind == REJECTED:
            wanted = [(id_, 0) for id_, _ in wanted]
        assert [(change.ticket_type_id, change.change) for change in entry.changes] == wanted


@given(states, times, commands)
def test_no_user_gets_beyond_a_limit_of_a_ticket_type_or_of_the_event(
    state: State, at: str, asked: list[Command]
) -> None:
    entries, after = decide(state, at, asked)
    has = Counter(holdings(state.owned))
    for purchase in filter(None, map(bought, entries)):
        for line in purchase.lines:
            has[purchase.user_id, line.ticket_type_id] += line.quantity
            if line.user_limit is not None:
                assert has[purchase.user_id, line.ticket_type_id] <= line.user_limit
        if purchase.event_limit is not None:
            of_all = sum(has[purchase.user_id, id_] for id_ in TYPES)
            assert of_all <= purchase.event_limit
    assert has == holdings(after.owned)


@given(states, times, commands)
def test_every_command_gets_one_entry_with_the_next_number(
    state: State, at: str, asked: list[Command]
) -> None:
    entries, after = decide(state, at, asked)
    assert [entry.command for entry in entries] == asked
    numbers = [state.number + nth for nth in range(1, len(asked) + 1)]
    assert [entry.number for entry in entries] == numbers
    assert after.number == state.number + len(asked)


@given(states, times, commands)
def test_a_command_is_rejected_or_refused_only_for_its_reason(
    state: State, at: str, asked: list[Command]
) -> None:
    left, has = Counter(state.left), Counter(holdings(state.owned))
    for entry in decide(state, at, asked)[0]:
        command = entry.command
        if isinstance(command, Issue):
            assert (entry.kind == REFUSED) == (left[command.ticket_type_id] + command.change < 0)
        else:
            user = command.user_id
            short = any(line.quantity > left[line.ticket_type_id] for line in command.lines)
            too_many = any(
                line.user_limit is not None
                and has[user, line.ticket_type_id] + line.quantity > line.user_limit
                for line in command.lines
            ) or (
                command.event_limit is not None
                and sum(has[user, id_] for id_ in TYPES)
                + sum(line.quantity for line in command.lines)
                > command.event_limit
            )
            because = NOT_ENOUGH_TICKETS if short else OVER_USER_LIMIT if too_many else None
            assert entry.reason == because
        assert (entry.reason is None) == (entry.kind not in (REJECTED, REFUSED))
        for change in entry.changes:
            left[change.ticket_type_id] = change.left_after
            if isinstance(command, Buy):
                has[command.user_id, change.ticket_type_id] -= change.change


@given(states, times, commands)
def test_time_never_goes_back(state: State, at: str, asked: list[Command]) -> None:
    assert decide(state, at, asked)[1].at == max(state.at, at)


@given(states, times, commands)
def test_what_was_given_is_not_changed(state: State, at: str, asked: list[Command]) -> None:
    left, held = dict(state.left), {user: dict(has) for user, has in state.owned.items()}
    decide(state, at, asked)
    assert (state.left, state.owned) == (left, held)


def buy(user_id: int, *lines: Line, event_limit: int | None = None) -> Buy:
    return Buy(f"{user_id}", user_id, lines, event_limit)


def of(left: dict[int, int], owned: dict[int, dict[int, int]] | None = None) -> State:
    """`owned`: by user."""
    return State(0, "", left, owned={(id_, ""): has for id_, has in (owned or {}).items()})


def kinds(state: State, *asked: Command) -> list[str]:
    return [entry.reason or entry.kind for entry in decide(state, "", asked)[0]]


def test_a_cart_that_does_not_fit_is_rejected_whole_and_a_smaller_one_still_fits() -> None:
    entries, after = decide(
        of({1: 3, 2: 1}),
        "",
        [buy(1, Line(1, 1), Line(2, 2)), buy(2, Line(1, 4)), buy(3, Line(1, 3), Line(2, 1))],
    )
    assert [entry.reason for entry in entries] == [NOT_ENOUGH_TICKETS, NOT_ENOUGH_TICKETS, None]
    assert entries[0].changes == (Change(1, 0, 3), Change(2, 0, 1))
    assert entries[2].changes == (Change(1, -3, 0), Change(2, -1, 0))
    assert after.left == {1: 0, 2: 0}


def test_a_ticket_type_that_is_not_named_has_nothing_left() -> None:
    assert kinds(of({}), buy(1, Line(1, 1))) == [NOT_ENOUGH_TICKETS]
    assert kinds(of({}), Issue("i", 1, -1), Issue("i", 1, 2), Issue("i", 1, -2)) == [
        NOT_ENOUGH_TICKETS, ISSUED, WITHDRAWN,
    ]  # fmt: skip


def test_what_a_user_holds_already_counts_towards_the_limits() -> None:
    state = of({1: 9, 2: 9}, {1: {1: 3}})
    assert kinds(state, *[buy(1, Line(1, n, 4)) for n in (2, 1, 1)]) == [
        OVER_USER_LIMIT, CONFIRMED, OVER_USER_LIMIT,
    ]  # fmt: skip
    assert kinds(state, *[buy(1, Line(2, n), event_limit=5) for n in (3, 2, 1)]) == [
        OVER_USER_LIMIT, CONFIRMED, OVER_USER_LIMIT,
    ]  # fmt: skip


def test_the_limit_frozen_with_each_request_is_the_one_that_counts() -> None:
    twice = [buy(1, Line(1, 2, 2)), buy(1, Line(1, 2)), buy(1, Line(1, 1, 4))]
    assert kinds(of({1: 9}), *twice) == [CONFIRMED, CONFIRMED, OVER_USER_LIMIT]


def test_too_few_tickets_are_named_before_a_limit() -> None:
    assert kinds(of({1: 1, 2: 9}), buy(1, Line(2, 5, 4), Line(1, 2))) == [NOT_ENOUGH_TICKETS]
