"""Rates, from one sample to the next."""

from gateway.live.figures import RATE_SAMPLES, Pulse, Rates, written


def test_rates_are_those_of_the_last_samples() -> None:
    pulse = Pulse()
    assert pulse.rates(0.0, 100, 0) == Rates()
    assert pulse.rates(1.0, 110, 20) == Rates(accepted=30.0, decided=10.0)
    for second in range(2, RATE_SAMPLES + 2):
        rates = pulse.rates(float(second), 110, 20)
    assert rates == Rates(accepted=0.0, decided=0.0)


def test_a_queue_that_is_too_long_hides_what_was_accepted() -> None:
    pulse = Pulse()
    pulse.rates(0.0, 0, 0)
    assert pulse.rates(2.0, 10, None) == Rates(accepted=None, decided=5.0)


def test_times_are_in_milliseconds() -> None:
    assert written(1_700_000_000.25) == "2023-11-14T22:13:20.250Z"
