"""Notices a signal to stop, so that waits of clients end in time."""

import asyncio
import signal
import threading
from collections.abc import Callable
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Draining:
    """`begun` is true from the first signal to stop."""

    def __init__(self) -> None:
        self.begun = False

    def watch(self, *listeners: Callable[[], None]) -> None:
        """Handle the signals before the server's own handlers. Call it on the loop.

        Args:
            listeners: each is called once, on the loop, when the draining begins.
        """
        if threading.current_thread() is not threading.main_thread():
            return  # Python gives signals to the main thread alone.
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            server_handler = signal.getsignal(number)

            def begin(
                signal_number: int, frame: FrameType | None, then: object = server_handler
            ) -> None:
                loop.call_soon_threadsafe(self._begin, listeners)
                if callable(then):
                    then(signal_number, frame)

            signal.signal(number, begin)

    def _begin(self, listeners: tuple[Callable[[], None], ...]) -> None:
        if not self.begun:
            self.begun = True
            for listener in listeners:
                listener()
