"""What Celery makes of a message: here, one that cannot leave its worker deaf."""

from celery.worker.request import Request
from kombu.transport.virtual import QoS

from shared.observability.logging import get_logger

logger = get_logger(__name__)


class WakeupRequest(Request):  # type: ignore[misc] # Celery has no types
    """A message that cannot be acknowledged is let go of all the same.

    Celery only logs that (celery and kombu 5.7.0). The message then counts as under way for as long
    as the connection lasts, against the few that a worker may hold; and while a worker holds all it
    may, it reads nothing from the broker, so nothing tells it that the connection is lost. A worker
    of one child whose acknowledgement met a cut connection took no wake-up any more, for good.
    """

    acknowledged: bool

    def acknowledge(self) -> None:
        if self.acknowledged:
            return
        self.acknowledged = True
        try:
            self.message.ack()
        except Exception as error:
            logger.warning("wakeup_not_acknowledged", error=repr(error))
            # Other brokers than Redis count for themselves.
            held = getattr(self.message.channel, "qos", None)
            if isinstance(held, QoS):
                # In this worker's count alone: the broker may deliver it again, which does no harm.
                QoS.ack(held, self.message.delivery_tag)
