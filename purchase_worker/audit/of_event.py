"""Audits one event, `python -m purchase_worker.audit.of_event ID`, and prints the verdict as JSON.

A sweeper runs it as a process of its own, with the lowest claim on the machine. It ends with the
process that has its standard input open.
"""

import os
import sys
import threading
import time
from typing import Final

import msgspec

from purchase_worker.audit.all_events import audit
from purchase_worker.audit.verdict import not_run, verdict_of
from shared.config.settings import get_settings
from shared.database.engine import open_engine
from shared.database.rights import WORKER
from shared.observability.logging import configure_logging
from shared.process import run_or_explain

NICE: Final = 15


def run() -> None:
    os.nice(NICE)
    threading.Thread(target=_end_with_our_parent, daemon=True).start()
    settings = get_settings()
    configure_logging(settings, "audit")
    engine = open_engine(settings, "audit", pool_size=1, role=WORKER)
    began = time.monotonic()
    try:
        report = audit(engine, settings, int(sys.argv[1]))
        verdict = verdict_of(report, time.monotonic() - began)
    except OSError as error:  # of the disk, where it keeps what was bought
        verdict = not_run(error.strerror or "the disk failed")
    sys.stdout.buffer.write(msgspec.json.encode(verdict))


def _end_with_our_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    run_or_explain(run)
