"""The rule of a token bucket."""

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from gateway.rate_limits.token_bucket import (
    MICROSECONDS,
    Draw,
    Rate,
    draw,
    draw_of,
    policy_header,
    rate_limit_header,
)

RATE = Rate(burst=3, per_second=2.0)
HALF_A_SECOND = MICROSECONDS // 2


def draw_all(rate: Rate, moments: list[int]) -> list[Draw]:
    """What becomes of a draw at each of these moments, from a bucket that is full at first."""
    full_at, draws = 0, []
    for now in moments:
        full_at, answer = draw(full_at, now, rate)
        draws.append(draw_of(answer))
    return draws


def test_a_full_bucket_gives_a_burst_and_then_refuses() -> None:
    draws = draw_all(RATE, [0, 0, 0, 0])
    assert draws == [Draw(2), Draw(1), Draw(0), Draw(0, retry_after_seconds=0.5)]


def test_a_token_grows_back_in_its_time() -> None:
    draws = draw_all(RATE, [0, 0, 0, HALF_A_SECOND - 1, HALF_A_SECOND, HALF_A_SECOND])
    assert [drawn.retry_after_seconds is None for drawn in draws] == [
        *(True, True, True),
        *(False, True, False),
    ]


def test_a_refused_draw_costs_nothing() -> None:
    draws = draw_all(RATE, [0, 0, 0, *[1] * 100, HALF_A_SECOND])
    assert draws[-1] == Draw(0)


def test_no_bucket_holds_more_than_a_burst() -> None:
    assert draw_all(RATE, [0, 3600 * MICROSECONDS])[-1] == Draw(2)


def test_after_a_clock_was_set_back_the_bucket_is_full() -> None:
    assert draw_all(RATE, [3600 * MICROSECONDS, 0, 0, 0, 0])[1:] == draw_all(RATE, [0] * 4)


@given(
    burst=st.integers(1, 10),
    per_second=st.floats(0.1, 1_000),
    steps=st.lists(st.integers(0, 2 * MICROSECONDS), min_size=1, max_size=50),
)
def test_within_any_time_no_more_is_given_than_a_burst_and_what_grew(
    burst: int, per_second: float, steps: list[int]
) -> None:
    rate = Rate(burst, per_second)
    moments = list(accumulate(steps))
    given_at = [
        now
        for now, drawn in zip(moments, draw_all(rate, moments), strict=True)
        if drawn.retry_after_seconds is None
    ]
    for first, start in enumerate(given_at):
        for last, end in enumerate(given_at[first:], first):
            assert last - first + 1 <= burst + (end - start) / rate.interval


@given(steps=st.lists(st.integers(0, MICROSECONDS), min_size=1, max_size=50))
def test_who_waits_as_told_is_given_a_token(steps: list[int]) -> None:
    full_at = now = 0
    for step in steps:
        now += step
        full_at, answer = draw(full_at, now, RATE)
        if answer < 0:
            now -= answer
            full_at, answer = draw(full_at, now, RATE)
            assert answer == 0


def test_the_headers_report_quota_and_window_and_what_is_left() -> None:
    rate = Rate(burst=20, per_second=5.0)
    assert policy_header("purchases", rate) == '"purchases";q=20;w=4'
    assert rate_limit_header("purchases", rate, Draw(19)) == '"purchases";r=19;t=1'
    assert rate_limit_header("purchases", rate, Draw(0, 0.2)) == '"purchases";r=0;t=1'


def test_a_burst_or_rate_of_nothing_lifts_the_limit() -> None:
    assert Rate(0, 5.0).is_unlimited
    assert Rate(20, 0.0).is_unlimited
    assert not RATE.is_unlimited


def test_a_rate_above_what_microseconds_can_count_still_gives_tokens() -> None:
    full_at, left = draw(0, 0, Rate(burst=3, per_second=5e6))
    assert (full_at, left) == (1, 2)
