"""Runs a Python program again and again; each run is killed at a moment at which none was before.

python -m tests.support.dies_at_each_line PROGRAM '[["first", "{n}"], ["second", "{n}"]]'

A moment is a line and how often the run has come to it. The runs take the lists of arguments in
turn; `{n}` is the run's number. It ends when each of them has come to its end, and prints the lines
at which a run was killed.
"""

import json
import os
import signal
import sys
from collections import Counter
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

TIMES_MAX = 2
Moment = tuple[int, int]


def run(code: Any, arguments: list[str], killed_at: set[Moment], report: int) -> None:
    """In a child: the program, up to the first moment that is not in `killed_at`."""
    times: Counter[int] = Counter()

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        if frame.f_code.co_filename != code.co_filename:
            return None
        if event == "line":
            line = frame.f_lineno
            times[line] = min(times[line] + 1, TIMES_MAX)
            if (line, times[line]) not in killed_at:
                os.write(report, json.dumps([line, times[line]]).encode())
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.argv = [code.co_filename, *arguments]
    sys.settrace(trace)
    exec(code, {"__name__": "__main__"})


def killed_at(code: Any, arguments: list[str], moments: set[Moment]) -> Moment | None:
    """Where a run was killed; None: nowhere."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        failed = 1
        try:
            run(code, arguments, moments, writing)
            failed = 0
        finally:
            sys.settrace(None)
            sys.stdout.flush()
            os._exit(failed)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading) as reports:
        report = reports.read()
    if report:
        line, times = json.loads(report)
        return line, times
    if status != 0:
        sys.exit(f"{arguments} failed: {status}")
    return None


def main(program: str, in_turn: str) -> None:
    code = compile(Path(program).read_text(), program, "exec")
    exec(code, {"__name__": "imported"})  # so that a child need not import its modules
    turns, moments, ended = json.loads(in_turn), set[Moment](), 0
    for n in count():
        arguments = [word.format(n=n) for word in turns[n % len(turns)]]
        moment = killed_at(code, arguments, moments)
        ended = 0 if moment else ended + 1
        if moment:
            moments.add(moment)
        if ended == 2 * len(turns):
            break
    sys.stdout.write(json.dumps(sorted({line for line, _ in moments})))


if __name__ == "__main__":
    main(*sys.argv[1:])
