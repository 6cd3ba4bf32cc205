"""What counts as harm done to buyers and bystanders."""

from collections import Counter

import pytest

from tests.abuse.buyers import NO_ANSWER, WindowAnswers


def test_who_got_what_he_asked_for_was_not_harmed() -> None:
    seen = WindowAnswers(answers=Counter({"201": 40}))
    # The list of one's own.
    seen.others["purchases"]["200"] = 2
    assert seen.failures_by == {}


@pytest.mark.parametrize("status", ["400", "401", "403", "404", "429", "500", "503", NO_ANSWER])
def test_any_other_answer_is_a_failure(status: str) -> None:
    seen = WindowAnswers(answers=Counter({"201": 40, status: 3}))
    seen.others["purchases"] = Counter({"200": 2, status: 1})
    assert seen.failures_by == {f"buy: {status}": 3, f"purchases: {status}": 1}
