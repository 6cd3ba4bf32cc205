"""How many users a rehearsal has when, when each means to act, and who takes part."""

import math
import random
from itertools import chain
from typing import ClassVar

import pytest

from loadtests.rehearsal.assignment import Rehearsal, tokens_of
from loadtests.rehearsal.schedule import ARRIVING_SECONDS, Schedule
from loadtests.rehearsal.stages import ShapeOptions, Step, on_sale_spike, soak, steady_ramp
from loadtests.rehearsal.user_choice import chosen_by_tags

PLAN = ShapeOptions(
    users=100, spawn_rate=50.0, run_seconds=60.0, spike_users=1000, quiet_seconds=5.0
)


def test_before_a_spike_there_are_only_those_who_look() -> None:
    quiet = Step(100, 50.0, before_the_opening=True)
    assert on_sale_spike(0.0, PLAN) == on_sale_spike(4.99, PLAN) == quiet


@pytest.mark.parametrize("spike_users", [1, 2, 1000, 1001])
def test_a_whole_spike_arrives_within_two_seconds(spike_users: int) -> None:
    opened = on_sale_spike(5.0, PLAN._replace(spike_users=spike_users))
    assert opened is not None
    assert not opened.before_the_opening
    assert opened.users == 100 + spike_users
    # Locust starts a second's users together, the first of them at once.
    lots = math.ceil(spike_users / math.floor(opened.per_second))
    assert (lots - 1) + ARRIVING_SECONDS <= 2.0


def test_a_spike_is_held_until_the_time_is_over() -> None:
    assert on_sale_spike(59.9, PLAN) == on_sale_spike(5.0, PLAN)
    assert on_sale_spike(60.0, PLAN) is None


def test_a_spike_of_nobody_still_has_a_rate_that_locust_takes() -> None:
    opened = on_sale_spike(5.0, PLAN._replace(spike_users=0))
    assert opened == Step(100, 1.0)


def test_a_ramp_has_everybody_there_just_when_the_time_is_over() -> None:
    step = steady_ramp(0.0, PLAN)
    assert step is not None
    assert step.users / step.per_second == pytest.approx(PLAN.run_seconds)
    assert steady_ramp(60.0, PLAN) is None


def test_a_soak_has_the_same_users_for_ever_if_no_time_is_given() -> None:
    endless = PLAN._replace(run_seconds=math.inf)
    assert soak(1e6, endless) == soak(0.0, PLAN) == steady_ramp(1e6, endless) == Step(100, 50.0)


def test_users_that_locust_starts_together_arrive_over_a_second() -> None:
    chance = random.Random(1)
    arrivals = [Schedule(0.0, 5.0, chance).take() for _ in range(1000)]
    assert 0.0 <= min(arrivals) < 0.05
    assert 0.95 < max(arrivals) <= 1.0


def test_a_slow_answer_moves_no_later_moment() -> None:
    punctual, late = (Schedule(0.0, 5.0, random.Random(1)) for _ in range(2))
    assert [punctual.take() for _ in range(3)] == [late.take() for _ in range(3)]
    # Thirty seconds late, it acts at once, and counts from when it meant to.
    assert late.seconds_until_next(45.0) == 0.0
    assert late.take() < 45.0 - 20.0


@pytest.mark.parametrize(
    ("began", "ended", "late"),
    [(-3.0, -1.0, 0.0), (-1.0, 2.0, 2.0), (4.0, 7.0, 3.0)],
    ids=["in its pause", "into its next moment", "when the system had made it late"],
)
def test_what_a_user_itself_takes_makes_it_late_for_nothing(
    began: float, ended: float, late: float
) -> None:
    usual, busy = (Schedule(0.0, 5.0, random.Random(1)) for _ in range(2))
    usual.take()
    busy.take()
    meant = usual.take()
    busy.was_busy(meant + began, meant + ended)
    assert busy.take() == pytest.approx(meant + late)


def test_a_user_acts_once_in_its_pace() -> None:
    schedule = Schedule(0.0, 5.0, random.Random(1))
    moments = [schedule.take() for _ in range(1001)]
    assert (moments[-1] - moments[0]) / 1000 == pytest.approx(5.0, rel=0.05)


def test_each_token_goes_to_one_worker() -> None:
    rehearsal = Rehearsal([1], [f"token{n}" for n in range(7)], workers=3)
    parts = [tokens_of(rehearsal, index) for index in range(3)]
    assert sorted(chain(*parts)) == sorted(rehearsal.tokens)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_no_worker_is_without_tokens() -> None:
    rehearsal = Rehearsal([1], ["token"], workers=3)
    late = 7  # came when the tokens were already shared out
    assert [tokens_of(rehearsal, index) for index in (0, 1, late)] == [["token"]] * 3


class _Tagged:
    """As Locust's `@tag` leaves a task."""

    locust_tag_set: ClassVar = {"buy", "poll"}


class _Buying:
    tasks = (_Tagged,)


class _Looking:
    tasks = (object,)


@pytest.mark.parametrize(
    ("tags", "exclude_tags", "chosen"),
    [
        (None, None, [_Buying, _Looking]),
        (["buy"], None, [_Buying]),
        (None, ["poll"], [_Looking]),
        (["buy"], ["poll"], []),
    ],
)
def test_tags_leave_only_users_with_a_task(
    tags: list[str] | None, exclude_tags: list[str] | None, chosen: list[type]
) -> None:
    assert chosen_by_tags([_Buying, _Looking], tags, exclude_tags) == chosen
