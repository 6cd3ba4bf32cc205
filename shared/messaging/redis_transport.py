"""kombu's transports for Redis, but queues are short, and what is no message is dropped.

kombu 5.7.0 parses what it has popped outside of Celery's error handling: bad JSON ends the worker,
and a KeyError counts as a lost connection. The item is gone by then, so it is only logged; the
sweeper finds the events that nobody was told of.
"""

from typing import Any

from kombu.transport import redis
from kombu.utils.json import dumps
from redis import DataError

from shared.observability.logging import get_logger

# While no worker runs, each event gets one a second. One older than that is worth nothing, because
# the sweeper has decided; a worker handles this many in a second or two, before new ones.
WAKEUPS_MAX = 1_000

logger = get_logger(__name__)


class _Channel(redis.Channel):
    _is_restoring = True

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (ValueError, RecursionError) as error:  # bad JSON
            _log(error)

    def _put(self, queue: str, message: Any, **_: Any) -> None:
        """Send; the newest messages are kept."""
        with self.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
            pipe.lpush(queue, dumps(message)).ltrim(queue, 0, WAKEUPS_MAX - 1).execute()

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
