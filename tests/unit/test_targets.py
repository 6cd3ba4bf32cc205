"""Each test is of exactly one of `make test`, `make test-deep` and the targets of environments."""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[2]
DEEP, ENVIRONMENTS = "tests/deep", "tests/environments"


def folders_of_make_test() -> list[str]:
    options = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["pytest"]
    folders: list[str] = options["ini_options"]["testpaths"]
    return folders


def test_no_test_is_left_out_or_run_twice() -> None:
    folders = [*folders_of_make_test(), DEEP, ENVIRONMENTS]
    files = [path.relative_to(PROJECT) for path in (PROJECT / "tests").rglob("test_*.py")]
    assert len(files) > 200
    homes = {path: [each for each in folders if path.is_relative_to(each)] for path in files}
    assert {path: found for path, found in homes.items() if len(found) != 1} == {}


def test_ci_runs_both_targets() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    assert re.search(
        rf"^test-deep:.*\n\t@.* -m pytest .* {DEEP} \$\(ARGS\)$", makefile, re.MULTILINE
    )
    lines = (PROJECT / ".ci" / "run").read_text().splitlines()
    commands = [
        line.strip() for line in lines if line.strip().startswith(("make check", "passes t"))
    ]
    assert commands == ["make check", "passes test", "passes test-deep"]
