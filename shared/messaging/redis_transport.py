"""kombu's transports for Redis, but what is no message is dropped.

kombu 5.7.0 parses what it has popped outside of Celery's error handling: bad JSON ends the worker,
and a KeyError counts as a lost connection. The item is gone by then, so it is only logged; the
sweeper finds the events that nobody was told of.
"""

from typing import Any

from kombu.transport import redis
from redis import DataError

from shared.observability.logging import get_logger

logger = get_logger(__name__)


class _Channel(redis.Channel):
    _is_restoring = True

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (ValueError, RecursionError) as error:  # bad JSON
            _log(error)

    def _queue_bind(self, *_binding: Any) -> None:
        """Nothing: a message names its queue, and a full Redis refuses to note a binding."""

    def _restore(self, message: Any, leftmost: bool = False) -> None:
        """Back to the queue, when the connection ends; what cannot be sent is given up.

        kombu would try to send each one, and then write them to a file.
        """
        if self._is_restoring:
            try:
                super()._restore(message, leftmost)  # type: ignore[no-untyped-call]
            except Exception as error:
                self._is_restoring = False
                logger.warning("wakeup_not_sent", error=repr(error))


class _SentinelChannel(_Channel, redis.SentinelChannel):
    pass


class Transport(redis.Transport):
    Channel = _Channel

    def _deliver(self, message: Any, queue: str) -> None:
        try:
            super()._deliver(message, queue)  # type: ignore[no-untyped-call]
        except (AttributeError, KeyError, TypeError, ValueError, DataError) as error:
            _log(error)


class SentinelTransport(Transport, redis.SentinelTransport):
    Channel = _SentinelChannel


def _log(error: Exception) -> None:
    logger.warning("message_not_readable", error=repr(error))
