"""The past of a sale, from its entries."""

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.live.past import STEPS_MAX, Entries, Mark, Past, Refusals, all_marks

BEGIN = 1_700_000_000


def issued(change: int, second: int = BEGIN - 86_400) -> Entries:
    return Entries(second, "issued", None, False, 1, -change, change)


def sold(second: int, quantity: int = 1, count: int = 1) -> Entries:
    return Entries(second, "confirmed", None, False, count, quantity, -quantity)


def test_each_kind_of_entry_moves_what_it_changes() -> None:
    past = Past()
    past.add(
        [
            issued(10),
            Entries(BEGIN, "held", None, False, 3, 4, -4),
            Entries(BEGIN, "confirmed", None, True, 1, 1, 0),
            Entries(BEGIN, "expired", None, True, 1, 1, 1),
            Entries(BEGIN, "released", None, True, 1, 1, 1),
            sold(BEGIN + 1, 2),
            Entries(BEGIN + 1, "rejected", "not_enough_tickets", False, 7, 0, 0),
            Entries(BEGIN + 1, "refused", "not_held", False, 2, 0, 0),
            Entries(BEGIN + 2, "cancelled", None, True, 1, 1, 1),
            Entries(BEGIN + 2, "cancelled", None, True, 1, 1, 0),
        ]
    )
    past.add_accepted(BEGIN - 5, 12)
    width, (first, second, third) = past.history([], queued=0)
    assert width == 1
    assert first == {
        "at": BEGIN,
        "left": 8,
        "held": 1,
        "confirmed": 1,
        "queued": 9,
        "decided": 3,
        "accepted": 12,
        "refused": {},
    }
    assert (second["left"], second["confirmed"], second["decided"]) == (6, 3, 8)
    assert second["refused"] == {"not_enough_tickets": 7, "not_held": 2}
    assert (third["left"], third["held"], third["confirmed"]) == (7, 1, 1)


@given(st.lists(st.integers(0, 10**8), min_size=1, max_size=50))
def test_a_long_past_has_few_steps_and_loses_nothing(seconds: list[int]) -> None:
    past = Past()
    past.add([issued(1_000)])
    for second in sorted(seconds):
        past.add([sold(BEGIN + second)])
        past.add_accepted(BEGIN + second, 1)
    width, points = past.history([], queued=0)
    assert len(points) <= STEPS_MAX
    assert {b["at"] - a["at"] for a, b in pairwise(points)} <= {width}
    assert points[0]["at"] <= BEGIN + min(seconds) < points[0]["at"] + width
    assert sum(point["decided"] for point in points) == len(seconds)
    assert sum(point["accepted"] for point in points) == len(seconds)
    assert points[-1]["left"] == 1_000 - len(seconds)


def test_a_part_begins_with_what_the_rest_adds_up_to() -> None:
    whole, part = Past(), Past(number=2, first=BEGIN + 10)
    whole.add([issued(10), sold(BEGIN), sold(BEGIN + 20, 3)])
    part.add([sold(BEGIN + 20, 3)])
    for past in (whole, part):
        past.add_accepted(BEGIN + 9, 1)
    part.begin_with(whole.total)
    _, points = part.history([], queued=0)
    # It was accepted before the part.
    assert (points[0]["accepted"], points[0]["queued"]) == (0, 0)
    assert (points[0]["at"], points[0]["left"], points[0]["confirmed"]) == (BEGIN + 10, 9, 1)
    assert (points[-1]["left"], points[-1]["confirmed"]) == (6, 4)


def test_refusals_at_the_edge_are_in_their_steps() -> None:
    past = Past()
    past.add([issued(1), sold(BEGIN)])
    refusals = [Refusals(BEGIN - 9, "sale_not_open", 5), Refusals(BEGIN + 4, "sale_closed", 2)]
    _, points = past.history(refusals, queued=0)
    assert [point["refused"] for point in points] == [{}, {}, {}, {}, {"sale_closed": 2}]
    # Within an hour in which the sale began.
    _, points = past.history([Refusals(BEGIN - 9, "sale_paused", 7, seconds=3_600)], queued=0)
    assert points[0]["refused"] == {"sale_paused": 7}
    # Nothing was ever decided.
    _, points = Past().history(refusals[:1], queued=3)
    assert [(point["refused"], point["queued"]) for point in points] == [({"sale_not_open": 5}, 3)]
    assert Past().history([], queued=0) == (1, [])


def test_marks_are_in_order_and_a_type_is_sold_out_once_in_a_step() -> None:
    flapping = [Mark(BEGIN + n / 10, "sold_out", 1) for n in range(30)]
    others = [Mark(BEGIN - 1, "opening", 1), Mark(BEGIN + 99, "closing", 1)]
    marks = all_marks(flapping, others, 2, None, BEGIN + 10)
    assert Counter(mark["kind"] for mark in marks) == {"opening": 1, "sold_out": 2}
    assert marks[0]["kind"] == "opening"
    assert all_marks(flapping, others, 2, BEGIN + 5, BEGIN + 100)[0]["kind"] == "closing"
