"""Each refusal of others counts, in whichever window it came: refusals are fast."""

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.abuse import attacks
from tests.abuse.attacks import Abuse
from tests.abuse.buyers import WindowAnswers
from tests.abuse.measure import SETTLED_LOOKS, Limits, Measurement, Result, Window
from tests.abuse.wire import Got

NOTHING = Got(1.0, 0.1, 1, {})
FAST, SLOW = 0.01, 9.0


def answered(seconds: float, got: Got | None = None, **others: int) -> Window:
    """Ten buyers with a purchase after so long, and so many others refused with that status."""
    refused = {status.removeprefix("_"): n for status, n in others.items()}
    answers = Counter({"201": 10} | refused)
    return Window(WindowAnswers([seconds] * 10, answers=answers), {}, 0.5, got)


def measured(attacked: list[Window], after: Iterator[Window]) -> Result:
    measurement = object.__new__(Measurement)
    measurement._limits = Limits()
    measurement._quiet_p99_ms = [1e3 * FAST]
    windows = iter(attacked)
    measurement.quiet = lambda: answered(FAST)  # type: ignore[method-assign]
    measurement.abused = lambda _abuse: next(windows)  # type: ignore[method-assign]
    measurement.control = lambda _got: answered(FAST)  # type: ignore[method-assign]
    measurement._window = lambda _seconds: next(after)  # type: ignore[method-assign]
    return measurement.measure(Abuse(attacks.upgrade))


def as_before() -> Iterator[Window]:
    while True:
        yield answered(FAST)


def test_a_window_that_is_fast_because_others_were_refused_is_no_better_one() -> None:
    result = measured([answered(SLOW, NOTHING), answered(FAST, NOTHING, _503=3)], as_before())
    assert result.problems == ["others got 3 x buy: 503"]
    assert result.failures == {"buy: 503": 3}


def test_what_others_are_refused_after_an_abuse_counts() -> None:
    after = iter([answered(FAST, _503=2), answered(FAST, _503=1), answered(FAST)])
    result = measured([answered(FAST, NOTHING)], after)
    assert result.problems == ["afterwards others got 3 x buy: 503"]


@pytest.mark.parametrize(("seconds", "is_harm"), [(0.5, False), (5.0, True)])
def test_who_waits_long_after_an_abuse_is_harmed(seconds: float, is_harm: bool) -> None:
    after = iter([answered(seconds), answered(FAST)])
    problems = measured([answered(FAST, NOTHING)], after).problems
    assert [text[:25] for text in problems] == ["afterwards a buyer waited"] * is_harm


def test_buyers_who_are_never_served_as_before_are_harmed() -> None:
    after = iter([answered(0.5)] * SETTLED_LOOKS)
    problems = measured([answered(FAST, NOTHING)], after).problems
    assert problems == [f"not served as before after {SETTLED_LOOKS} looks"]
