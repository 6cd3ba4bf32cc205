"""Compares what the running system answers with what a model foresees."""

from collections.abc import Callable
from typing import TypeVar

import httpx

from tests.deep.model.refusals import Refusal

T = TypeVar("T")


def agreed(answer: httpx.Response, status: int, foreseen: Callable[[], T]) -> T | None:
    """What the model foresees, once the answer agrees; None where both refuse.

    Args:
        answer: of the running system.
        status: of the answer where the model foresees no refusal.
        foreseen: the model's turn. It changes the model, and raises Refusal.
    """
    try:
        outcome = foreseen()
    except Refusal as refusal:
        check_refused(answer, refusal)
        return None
    check_status(answer, status)
    return outcome


def check_status(answer: httpx.Response, status: int) -> None:
    assert answer.status_code == status, f"{answer.status_code}, not {status}: {answer.text}"


def check_refused(answer: httpx.Response, refusal: Refusal) -> None:
    check_status(answer, refusal.status)
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == refusal.code, problem
    assert problem["status"] == refusal.status, problem
    assert set(problem.get("errors", {})) == refusal.fields, problem
    assert problem.get("short") == refusal.short, problem
