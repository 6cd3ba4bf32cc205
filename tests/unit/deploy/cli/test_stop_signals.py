"""Which signals stop the operator's command."""

import signal
from collections.abc import Callable, Iterator

import pytest

from deploy.cli.stop_signals import STOP_SIGNALS, stop_interrupts, stop_noted


@pytest.fixture(autouse=True)
def _handlers_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_request_to_stop_is_noted(number: signal.Signals) -> None:
    with stop_noted() as stop_requested:
        assert not stop_requested()
        signal.raise_signal(number)
        assert stop_requested()


@pytest.mark.parametrize("block", [stop_noted, stop_interrupts])
def test_a_closed_terminal_stops_nothing_under_nohup(block: Callable[..., object]) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with block():  # type: ignore[attr-defined]
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
