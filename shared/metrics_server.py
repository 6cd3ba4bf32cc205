"""Tells the metrics of processes that answer no HTTP themselves, on a port for metrics alone.

`tell_metrics` does so in a thread. `python -m shared.metrics_server` is a process for it, for those
that fork: it ends with its standard input, which is whoever started it.
"""

import signal
import sys

from prometheus_client import start_http_server

from shared.errors import ConfigurationError
from shared.metrics_folder import metrics_of_all
from shared.process import run_or_explain
from shared.settings import Settings, get_settings


def tell_metrics(settings: Settings) -> None:
    """Answer on EVENTIFY_METRICS_PORT, if there is one, in a thread of this process.

    Raises:
        ConfigurationError: the address cannot be bound.
    """
    host, port = settings.metrics_host, settings.metrics_port
    if port == 0:
        return
    try:
        start_http_server(port, host, metrics_of_all())
    except OSError as error:
        raise ConfigurationError(
            f"Cannot tell metrics on {host} port {port}: {error.strerror}."
        ) from error


def run() -> None:
    # Ctrl-C reaches every process of a terminal; who started this one may go on for a while.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tell_metrics(get_settings())
    sys.stdin.buffer.read()


if __name__ == "__main__":
    run_or_explain(run)
