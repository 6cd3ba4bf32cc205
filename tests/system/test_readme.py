"""The README's quick start works exactly as it stands there."""

import re
import subprocess

from tests.system.operators import PROJECT, Operator

README = (PROJECT / "README.md").read_text()


def quick_start() -> list[str]:
    """What the README lets a newcomer type between `make up` and the demo."""
    section = README.split("## Quick start")[1].split("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL)


def test_the_quick_start_works_as_typed(operator: Operator) -> None:
    assert operator.up().returncode == 0
    typed = "\n".join(["set -eu", *quick_start()]).replace(
        "localhost:8000", f"127.0.0.1:{operator.port}"
    )
    shown = subprocess.run(["bash", "-c", typed], capture_output=True, text=True, check=True).stdout
    in_order = (
        '"username":"ada"',
        '"title":"Open-air concert"',
        '"capacity":10,"sold":0',
        "202 Accepted",
        '"status":"queued"',
        "201 Created",
        '"status":"confirmed"',
        "400 Bad Request",
        "Not enough tickets available",
    )
    places = [shown.find(text) for text in in_order]
    assert places == sorted(places), shown
    assert -1 not in places, shown
    assert operator.run("audit").returncode == 0


def test_the_readme_names_every_command() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    goals = set(re.findall(r"^([a-z-]+):.*?## ", makefile, flags=re.MULTILINE))
    named = set(re.findall(r"make ([a-z-]+)", README))
    assert named <= goals
    assert {"up", "down", "status", "demo", "audit", "test", "check"} <= named
