"""Waiting in tests: for a condition, with a limit, never for a fixed time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(
    attempt: Callable[[], T],
    *,
    retry_on: type[Exception] | tuple[type[Exception], ...] = AssertionError,
    within_seconds: float = 20.0,
) -> T:
    """Call `attempt` until it raises none of `retry_on`, and return its answer.

    Raises:
        Exception: the last error of `attempt`, when the time is over.
    """
    deadline = time.monotonic() + within_seconds
    while True:
        try:
            return attempt()
        except retry_on:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
