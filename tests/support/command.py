"""Runs an `eventify` command within the test: most need none of their own."""

import os
from subprocess import CompletedProcess
from unittest.mock import patch

from click.testing import CliRunner

from deploy.cli.main import main
from shared.config.settings import PREFIX, get_settings


def eventify(*arguments: str, typed: str = "", **environment: str) -> CompletedProcess[str]:
    """Run it with these EVENTIFY_* variables and no others, and `typed` as standard input.

    Raises:
        Exception: what a process would have shown as a traceback.
    """
    with patch.dict(os.environ):
        for name in [name for name in os.environ if name.startswith(PREFIX)]:
            del os.environ[name]
        os.environ.update(environment)
        result = CliRunner().invoke(main, arguments, input=typed)
    get_settings.cache_clear()
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)
