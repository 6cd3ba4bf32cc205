"""Threads that cannot be started, as at a limit of processes."""

import threading

import pytest


def next_thread_fails(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The next thread whose name begins with this."""
    start = threading.Thread.start
    failures = [RuntimeError("can't start new thread")]

    def start_or_fail(thread: threading.Thread) -> None:
        if failures and thread.name.startswith(name):
            raise failures.pop()
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_or_fail)
