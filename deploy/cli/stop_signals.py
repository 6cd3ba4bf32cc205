"""Stop signals of the operator's command."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], object]
# Ctrl-C, a service manager, and a terminal that closed.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stop_noted() -> Iterator[Callable[[], bool]]:
    """Within the block a stop signal is only noted; yields a function that returns whether."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    with _signal_handlers(dict.fromkeys(STOP_SIGNALS, note)):
        yield lambda: bool(received)


@contextmanager
def stop_interrupts() -> Iterator[None]:
    """Within the block every stop signal raises KeyboardInterrupt."""

    def as_ctrl_c(_number: int, _frame: FrameType | None) -> None:
        # asyncio knows how to end its tasks at this one; an exception would hit any of them.
        signal.raise_signal(signal.SIGINT)

    handlers: dict[signal.Signals, Handler] = dict.fromkeys(STOP_SIGNALS, as_ctrl_c)
    with _signal_handlers(handlers | {signal.SIGINT: signal.default_int_handler}):
        yield


@contextmanager
def _signal_handlers(handlers: Mapping[signal.Signals, Handler]) -> Iterator[None]:
    before = {
        number: signal.signal(number, handler)
        for number, handler in handlers.items()
        # `nohup` ignores it so that a closed terminal stops nothing.
        if not (number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN)
    }
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)
