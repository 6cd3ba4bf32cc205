"""When a worker's consumer counts as stalled."""

from purchase_worker.consumer.self_check import ConsumptionMonitor


def test_a_consumer_that_receives_none_of_its_messages_is_stalled_in_the_end() -> None:
    monitor = ConsumptionMonitor(30)
    for second in range(0, 31, 5):
        monitor.sent(second)
        assert not monitor.is_stalled(second)
    assert monitor.is_stalled(31)
    monitor.received()
    assert not monitor.is_stalled(31)


def test_a_consumer_that_sent_nothing_is_not_stalled() -> None:
    monitor = ConsumptionMonitor(30)
    monitor.excused(1e6)
    assert not monitor.is_stalled(2e6)


def test_one_message_of_several_is_enough() -> None:
    """The others may be lost with the broker."""
    monitor = ConsumptionMonitor(30)
    for second in range(0, 300, 25):
        monitor.sent(second)
        monitor.sent(second + 20)
        monitor.received()
    assert not monitor.is_stalled(300)


def test_a_reason_to_receive_nothing_restarts_the_time() -> None:
    monitor = ConsumptionMonitor(30)
    monitor.sent(0)
    monitor.excused(29)
    assert not monitor.is_stalled(58)
    assert monitor.is_stalled(60)
