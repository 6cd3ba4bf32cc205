"""Skips calls for a moment after one has failed, so that what is unavailable costs no time."""

import time
from collections.abc import Callable
from typing import TypeVar

import redis
from structlog.stdlib import BoundLogger

T = TypeVar("T")

# Long enough that calls which time out are rare, short enough that a restart is soon noticed.
PAUSE_SECONDS = 1.0


class CircuitBreaker:
    """Open for `PAUSE_SECONDS` after each failure. Several threads may use it at once.

    Args:
        logger: logs each failure as a warning.
        event: the name of that log event.
        failure: the exceptions that are failures; others are raised.
        fields: more fields of the log event.
    """

    def __init__(
        self,
        logger: BoundLogger,
        event: str,
        failure: type[Exception] = redis.RedisError,
        **fields: str,
    ) -> None:
        self._logger = logger
        self._event = event
        self._failure = failure
        self._fields = fields
        self._open_until = 0.0
        self.failures = 0

    def call(self, work: Callable[[], T]) -> T | None:
        """The result of `work`; None if it fails, or if the breaker is open."""
        if time.monotonic() < self._open_until:
            return None
        try:
            return work()
        except self._failure as error:
            self._open_until = time.monotonic() + PAUSE_SECONDS
            self.failures += 1
            self._logger.warning(
                self._event, error=repr(error), failures=self.failures, **self._fields
            )
            return None
