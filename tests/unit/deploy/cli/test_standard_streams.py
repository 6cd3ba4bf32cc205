"""`eventify up <&-`: what a child is to keep is not where it gets other streams."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, subprocess, sys
import click
from deploy.cli import main
from deploy.local.home import find_home, is_locked, lock_home, make_home

@click.command()
def keep():
    home = find_home()
    make_home(home)
    lock = lock_home(home)
    streams = dict.fromkeys(("stdin", "stdout"), subprocess.DEVNULL)
    child = subprocess.Popen(["sleep", "60"], **streams, pass_fds=[lock])
    os.close(lock)
    print(is_locked(home), file=sys.stderr)
    child.kill()
    child.wait()

main.COMMANDS["keep"] = ("__main__:keep", "")
main.main()
"""


def test_the_lock_is_inherited_even_if_stdin_and_stdout_are_closed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, "keep"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&-', "sh", *command],
        env={"EVENTIFY_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        cwd=Path(__file__).parents[4],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.stderr == "True\n"
