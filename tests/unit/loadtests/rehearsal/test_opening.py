"""Whether the buyers' tokens last as long as a rehearsal."""

import jwt
import pytest

from loadtests.rehearsal.opening import expiry_problem

NOW = 1_800_000_000.0
KEY = "nobody-verifies-it-and-it-is-long-enough"


def token(left_seconds: int) -> str:
    return jwt.encode({"sub": "1", "exp": NOW + left_seconds}, KEY)


@pytest.mark.parametrize(
    "tokens",
    [
        [token(7_260), token(7_261)],
        [jwt.encode({"sub": "1"}, KEY)],
        ["evk_an_api_key"],
        ["not.a.token"],
    ],
)
def test_tokens_that_last_are_taken(tokens: list[str]) -> None:
    assert expiry_problem(tokens, NOW, needed_seconds=7_260) is None


@pytest.mark.parametrize(("left", "shown"), [(3_590, "in 3,590 s"), (-5, "in 0 s")])
def test_a_token_that_ends_during_the_run_is_named_at_its_start(left: int, shown: str) -> None:
    problem = expiry_problem([token(9_000), token(left)], NOW, needed_seconds=7_260)
    assert problem is not None
    assert shown in problem
    assert "EVENTIFY_ACCESS_TOKEN_SECONDS" in problem
