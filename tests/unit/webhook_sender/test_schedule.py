"""What follows an attempt to deliver."""

import pytest

from webhook_sender.schedule import (
    Disable,
    Outcome,
    Received,
    Retry,
    Schedule,
    gather_seconds,
    next_step,
    outcome_of,
)

DAY = 86_400.0
SCHEDULE = Schedule(first_seconds=5, max_seconds=DAY, give_up_seconds=3 * DAY)
REFUSED = Outcome(3, None, "connection")


def after(
    outcome: Outcome, failures: int = 0, failing_seconds: float = 0, jitter: float = 0
) -> Received | Retry | Disable:
    return next_step(outcome, failures, failing_seconds, SCHEDULE, lambda: jitter)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_is_success(status: int) -> None:
    assert after(outcome_of(status, 1, None)) == Received()


@pytest.mark.parametrize(
    ("status", "failure"),
    [(301, "redirect"), (308, "redirect"), (400, "status"), (404, "status"), (500, "status")],
)
def test_anything_else_is_tried_again(status: int, failure: str) -> None:
    outcome = outcome_of(status, 1, None)
    assert outcome.failure == failure
    assert after(outcome) == Retry(5)


def test_410_disables() -> None:
    assert after(outcome_of(410, 1, None)) == Disable("gone")


def test_the_time_doubles_from_five_seconds_to_a_day() -> None:
    times = [after(REFUSED, failures) for failures in (0, 1, 2, 10, 14, 15, 10_000)]
    assert times == [Retry(each) for each in (5, 10, 20, 5_120, 81_920, DAY, DAY)]


def test_jitter_adds_up_to_half() -> None:
    assert after(REFUSED, 1, jitter=1) == Retry(15)
    assert after(REFUSED, 20, jitter=1) == Retry(DAY)


@pytest.mark.parametrize(
    ("status", "asked", "seconds"),
    [(429, 60, 60), (503, 60, 60), (503, 1, 5), (429, 1e9, DAY), (500, 60, 5), (429, None, 5)],
)
def test_retry_after_of_429_and_503_is_honoured(
    status: int, asked: float | None, seconds: float
) -> None:
    assert after(outcome_of(status, 1, asked)) == Retry(seconds)


def test_after_three_days_it_is_disabled() -> None:
    assert after(REFUSED, 20, 3 * DAY - 1) == Retry(DAY)
    assert after(REFUSED, 20, 3 * DAY) == Disable("failing")


def test_all_attempts_of_three_days_are_about_twenty() -> None:
    seconds, attempts = 0.0, 0
    while isinstance(step := after(REFUSED, attempts, seconds, jitter=0.5), Retry):
        attempts += 1
        seconds += step.after_seconds
    assert 14 <= attempts <= 20
    assert 3 * DAY <= seconds <= 4 * DAY


@pytest.mark.parametrize(
    ("entries", "span", "behind", "per_second", "seconds"),
    [
        (100, 100, 100, 1_000, 0),  # the next is full already
        (100, 100, 0, 1_000, 0.1),
        (100, 100, 50, 1_000, 0.05),
        (40, 40, 0, 1_000, 0.1),
        (1, 1, 0, 10, 0.5),
        (1, 1, 0, 0, 0.5),
        (50, 100, 0, 1_000, 0.2),  # half of them are wanted
        (100, 1_000, 900, 1_000, 0.1),
        (0, 0, 0, 0, 0.5),  # only a new epoch was told
    ],
)
def test_the_next_delivery_waits_until_it_is_likely_full(
    entries: int, span: int, behind: int, per_second: float, seconds: float
) -> None:
    assert gather_seconds(entries, span, behind, per_second) == pytest.approx(seconds)
