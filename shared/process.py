"""Starts a process of Eventify: default signals, and configuration errors in one sentence."""

import os
import signal
import sys
from collections.abc import Callable

from shared.errors import ConfigurationError

# The home of a system, in the environment of every process that the supervisor of its `eventify up`
# starts.
SUPERVISED_IN = "EVENTIFY_SUPERVISED_IN"


def run_or_explain(run: Callable[[], None]) -> None:
    """Run; print a ConfigurationError and exit with code 1."""
    restore_stop_signals()
    try:
        run()
    except ConfigurationError as error:
        sys.exit(f"Error: {error}")


def restore_stop_signals() -> None:
    """Let SIGINT and SIGTERM stop this process, regardless of its parent.

    Ignored and blocked signals are inherited: a script's `command &` ignores SIGINT, and some CI
    runners SIGTERM. SIGHUP stays as it is, because `nohup` ignores it on purpose.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})


def is_supervised() -> bool:
    """Whether `eventify up` started this process; others may then share its port."""
    return SUPERVISED_IN in os.environ
