"""Starts a process of Eventify so that an operator's mistake is told in one sentence."""

import sys
from collections.abc import Callable

from shared.errors import ConfigurationError


def run_or_explain(run: Callable[[], None]) -> None:
    """Run; on a mistake in the configuration print what to set right, and exit with code 1."""
    try:
        run()
    except ConfigurationError as error:
        sys.exit(f"Error: {error}")
