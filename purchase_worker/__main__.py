"""Starts a purchase worker: `python -m purchase_worker`."""

import gc

from purchase_worker.metrics_process import metrics_of_children
from shared.config.settings import get_settings
from shared.process import run_or_explain


def run() -> None:
    settings = get_settings()
    with metrics_of_children(settings):
        # prometheus-client reads its folder's name when it is imported: not before it is set.
        # Collections of what modules are find nothing, and cost a quarter of the start.
        gc.disable()
        from purchase_worker.celery_app import work  # noqa: PLC0415

        gc.freeze()
        gc.enable()

        work(settings)


if __name__ == "__main__":
    run_or_explain(run)
