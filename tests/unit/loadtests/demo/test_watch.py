"""Who watches the demo may begin it from the terminal."""

import os
import sys
from pathlib import Path

import pytest

from loadtests.demo.watch import enter_pressed


def test_enter_begins_the_rush_and_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, keyboard = os.openpty()
    with os.fdopen(keyboard) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert not enter_pressed(within_seconds=0.01)
        os.write(terminal, b"\n")
        assert enter_pressed(within_seconds=5)
    os.close(terminal)


def test_without_a_terminal_nobody_presses_enter(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path(os.devnull).open() as stdin:  # always ready to be read
        monkeypatch.setattr(sys, "stdin", stdin)
        assert not enter_pressed(within_seconds=0.01)
