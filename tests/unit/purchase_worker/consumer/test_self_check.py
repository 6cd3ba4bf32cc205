"""When a worker counts as deaf."""

from purchase_worker.consumer.self_check import Hearing


def test_a_worker_that_hears_none_of_its_messages_is_deaf_in_the_end() -> None:
    hearing = Hearing(30)
    for second in range(0, 31, 5):
        hearing.sent(second)
        assert not hearing.is_deaf(second)
    assert hearing.is_deaf(31)
    hearing.heard()
    assert not hearing.is_deaf(31)


def test_who_sent_nothing_has_nothing_to_hear() -> None:
    hearing = Hearing(30)
    assert not hearing.is_deaf(1e6)
    hearing.excused(1e6)
    assert not hearing.is_deaf(2e6)


def test_one_message_of_several_is_enough() -> None:
    """The others may have gone with the broker."""
    hearing = Hearing(30)
    for second in range(0, 300, 25):
        hearing.sent(second)
        hearing.sent(second + 20)
        hearing.heard()
    assert not hearing.is_deaf(300)


def test_a_reason_not_to_hear_starts_the_time_anew() -> None:
    hearing = Hearing(30)
    hearing.sent(0)
    hearing.excused(29)
    assert not hearing.is_deaf(58)
    assert hearing.is_deaf(60)
