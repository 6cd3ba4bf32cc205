"""Tells the metrics of processes that answer no HTTP themselves, on a port for metrics alone.

`tell_metrics` does so in a thread. `python -m shared.observability.metrics_server` is a process of
its own, for services that fork; it ends when its standard input is closed.
"""

import signal
import sys

from prometheus_client import start_http_server

from shared.config.settings import Settings, get_settings
from shared.errors import ConfigurationError
from shared.observability.multiprocess_metrics import metrics_of_all
from shared.process import run_or_explain


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
