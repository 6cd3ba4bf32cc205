"""Requests of every kind that the document allows and forbids find nothing wrong."""

import json
import re
from pathlib import Path

import pytest

from tests.deep.fuzz.system import a_system

PHASES = ("examples", "coverage", "fuzzing", "stateful")
OPERATIONS = 61


@pytest.mark.timeout(600)  # three thousand requests, while other tests have the cores
def test_no_request_finds_an_answer_that_is_not_in_the_document(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    with a_system() as system:
        fuzzed = system.fuzz("--seed", "3", "--report-json-path", str(report), quietly=True)
        audited = system.operator.run("audit")
        restarts = [process["restarts"] for process in system.operator.processes().values()]
    assert fuzzed.returncode == 0, fuzzed.stdout + fuzzed.stderr

    reported = json.loads(report.read_text())
    assert reported["complete"]
    assert reported["operations"]["total"] == OPERATIONS
    assert reported["operations"]["tested"] == OPERATIONS - 1  # one is a stream without an end
    assert {name: phase["status"] for name, phase in reported["phases"].items()} == dict.fromkeys(
        PHASES, "success"
    )
    assert reported["test_cases"]["generated"] > 1_000
    links = re.search(r"(\d+) covered / (\d+) selected", fuzzed.stdout)
    assert links is not None
    # What was made was used: how far chains go depends on ids and moments of the run (6-10 of 31).
    assert int(links[1]) >= 4

    assert audited.returncode == 0, audited.stdout
    assert set(restarts) == {0}
