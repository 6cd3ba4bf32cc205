"""A worker whose consumer stalls at SIGUSR1: connected, its loop running, and consuming nothing."""

import signal
from typing import Any

from celery.signals import worker_ready

from purchase_worker.__main__ import run


@worker_ready.connect(weak=False)
def listen_for_the_signal(sender: Any, **_: Any) -> None:
    signal.signal(signal.SIGUSR1, lambda *_: sender.task_consumer.cancel())


if __name__ == "__main__":
    run()
