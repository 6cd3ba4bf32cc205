"""A worker whose acknowledgement met a broken connection goes on consuming wake-ups."""

from kombu import Queue
from kombu.transport.virtual import Channel
from sqlalchemy.engine import make_url

from purchase_worker.celery_app import create_worker_app
from purchase_worker.consumer.wakeup_consumer import WakeupRequest
from shared.config.settings import Settings
from shared.messaging.celery_client import DECIDE_QUEUES_TASK, PURCHASES_QUEUE
from tests.chaos.faults.network import CUT
from tests.support.line import Line, carrying


def test_a_wakeup_that_cannot_be_acknowledged_does_not_count_against_the_limit(
    settings: Settings, valkey_url: str
) -> None:
    url = make_url(valkey_url)
    assert url.port is not None
    line = Line(url.port)
    with carrying(line):
        through_line = url.set(port=line.port, database="1").render_as_string(hide_password=False)
        worker = create_worker_app(settings.model_copy(update={"broker_url": through_line}))
        with worker.connection_for_read() as connection:
            channel: Channel = connection.default_channel
            channel.basic_qos(0, 1, False)
            worker.send_task(DECIDE_QUEUES_TASK, ([7],), queue=PURCHASES_QUEUE)
            message = Queue(PURCHASES_QUEUE, channel=channel).get()
            assert message is not None
            assert not channel.qos.can_consume()

            line.set_weather(CUT)
            task = worker.tasks[DECIDE_QUEUES_TASK]
            WakeupRequest(message, app=worker, task=task, hostname="here").acknowledge()

            assert channel.qos.can_consume()
        worker.close()
