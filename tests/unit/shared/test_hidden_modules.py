import subprocess
import sys

import pytest

from shared.hidden_modules import hidden

# What starts each process, and what none of them needs.
STARTS = (
    "gateway.app",
    "catalog.app",
    "purchase_worker.celery_app",
    "purchase_worker.sweep",
    "webhook_sender.sender",
)
NEEDLESS = ("rich", "pygments", "opentelemetry.sdk", "alembic")


def test_what_is_hidden_cannot_be_imported() -> None:
    with hidden("this_is_hidden"), pytest.raises(ImportError):
        import this_is_hidden  # type: ignore[import-not-found] # noqa: F401, PLC0415
    assert "this_is_hidden" not in sys.modules


def test_what_was_imported_before_stays() -> None:
    with hidden("pytest"):
        assert sys.modules["pytest"] is pytest
    assert sys.modules["pytest"] is pytest


@pytest.mark.parametrize("start", STARTS)
def test_no_process_loads_what_it_does_not_need(start: str) -> None:
    """Each takes megabytes of every process, and a tenth of a second of its start."""
    code = f"import sys, {start}; print(*(name for name in {NEEDLESS} if name in sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
