"""Runs a Python program again and again; each run is killed at a line at which none was before.

python -m tests.support.dies_at_each_line PROGRAM '[["first", "{n}"], ["second", "{n}"]]' '[7, 8]'

The runs take the lists of arguments in turn; `{n}` is the run's number. None is killed at the lines
at the end, at which earlier ones were. It ends when each list has come to its end, and prints the
lines at which a run was killed.
"""

import json
import os
import signal
import sys
from itertools import count
from pathlib import Path
from types import CodeType, FrameType
from typing import Any


def run(code: CodeType, arguments: list[str], killed_at: set[int], report: int) -> None:
    """In a child: the program, up to the first line that is not in `killed_at`."""

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        if frame.f_code.co_filename != code.co_filename:
            return None
        if event == "line" and frame.f_lineno not in killed_at:
            os.write(report, b"%d" % frame.f_lineno)
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.argv = [code.co_filename, *arguments]
    sys.settrace(trace)
    exec(code, {"__name__": "__main__"})


def next_line(code: CodeType, arguments: list[str], killed_at: set[int]) -> int | None:
    """Where a run was killed; None: it came to its end."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        failed = 1
        try:
            run(code, arguments, killed_at, writing)
            failed = 0
        finally:
            sys.settrace(None)
            sys.stdout.flush()
            os._exit(failed)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading) as reports:
        line = reports.read()
    if not line and status != 0:
        sys.exit(f"{arguments} failed: {status}")
    return int(line) if line else None


def main(program: str, in_turn: str, killed_before: str) -> None:
    code = compile(Path(program).read_text(), program, "exec")
    exec(code, {"__name__": "imported"})  # so that a child need not import its modules
    turns, killed_at, ended = json.loads(in_turn), set[int](json.loads(killed_before)), 0
    for n in count():
        line = next_line(code, [word.format(n=n) for word in turns[n % len(turns)]], killed_at)
        ended = 0 if line else ended + 1
        if line:
            killed_at.add(line)
        if ended == 2 * len(turns):
            break
    sys.stdout.write(json.dumps(sorted(killed_at)))


if __name__ == "__main__":
    main(*sys.argv[1:])
