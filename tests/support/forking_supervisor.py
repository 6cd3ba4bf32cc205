"""supervisord whose services are forks of it: it imports them once, most of what a start takes.

`python -m tests.support.forking_supervisor` is `python -m supervisor.supervisord` otherwise: what
is forked has the process id, the environment, the signals and the output that it would have.
"""

import atexit
import gc
import os
import runpy
import signal
import sys
import threading
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from supervisor import process, supervisord
from supervisor.options import ServerOptions

SERVICES = ("catalog", "gateway", "purchase_worker", "purchase_worker.sweep", "webhook_sender")
IMPORTED = (
    *("catalog.app", "gateway.app", "webhook_sender.sender"),
    *("purchase_worker.celery_app", "purchase_worker.sweep"),
)
# supervisord has handlers for them, which another program would not inherit.
SIGNALS = (
    *(signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP),
    *(signal.SIGCHLD, signal.SIGUSR2),
)


def open_files() -> set[int]:
    # The folder itself is open while it is listed.
    return {int(file.name) for file in list(Path("/proc/self/fd").iterdir()) if file.is_symlink()}


def import_services() -> set[int]:
    """The files that prometheus-client has opened: a fork closes them itself."""
    before = open_files()
    for module in IMPORTED:
        import_module(module)
    for counted in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob(f"*_{os.getpid()}.db"):
        counted.unlink()
    gc.collect()
    gc.freeze()
    return open_files() - before


def is_service(argv: list[str]) -> bool:
    return argv[1:3] == ["-P", "-m"] and argv[3] in SERVICES


def run(module: str, environment: dict[str, str]) -> NoReturn:
    """`python -P -m module`, in this process."""
    from purchase_worker.metrics import RESCUED  # noqa: PLC0415 - once its folder is known

    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module]
    RESCUED.inc(0)  # prometheus-client sees that it is in another process
    code: object = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code
    except BaseException:  # as the interpreter does
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    if code is not None and not isinstance(code, int):
        sys.stderr.write(f"{code}\n")
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def main() -> None:
    kept = import_services()
    prepare_fds, execve = process.Subprocess._prepare_child_fds, ServerOptions.execve

    def prepare_child_fds(self: Any) -> None:
        # It would close all, and what has the same number later is closed with their objects.
        self.config.options.minfds = 3
        prepare_fds(self)
        for number in open_files() - kept - {0, 1, 2}:
            self.config.options.close_fd(number)

    def run_or_execve(self: Any, filename: str, argv: list[str], env: dict[str, str]) -> None:
        if is_service(argv):
            run(argv[3], env)
        os.closerange(3, max(open_files()) + 1)
        execve(self, filename, argv, env)

    process.Subprocess._prepare_child_fds = prepare_child_fds
    ServerOptions.execve = run_or_execve
    supervisord.main()


if __name__ == "__main__":
    main()
