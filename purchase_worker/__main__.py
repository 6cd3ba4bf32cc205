"""Starts a purchase worker: `python -m purchase_worker`."""

from purchase_worker.celery_app import run
from shared.process import run_or_explain

if __name__ == "__main__":
    run_or_explain(run)
