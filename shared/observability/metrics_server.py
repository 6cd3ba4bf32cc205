"""Serves the metrics of processes without HTTP, on a port for metrics alone.

`serve_metrics` does so in a thread. `python -m shared.observability.metrics_server` is a separate
process, for services that fork; it exits when its standard input is closed.
"""

import signal
import sys

from prometheus_client import start_http_server

from shared.config.settings import Settings, get_settings
from shared.errors import ConfigurationError
from shared.observability.multiprocess_metrics import metrics_of_all
from shared.process import run_or_explain


def serve_metrics(settings: Settings) -> None:
    """Listen on EVENTIFY_METRICS_PORT, if set, in a thread of this process.

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
            f"Cannot serve metrics on {host} port {port}: {error.strerror}."
        ) from error


def run() -> None:
    # Ctrl-C reaches every process of a terminal; the parent may still be stopping.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve_metrics(get_settings())
    sys.stdin.buffer.read()


if __name__ == "__main__":
    run_or_explain(run)
