"""`make loadtest`: a rehearsal from the command to its verdict, and the guide to it."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from loadtests.recording.observations import ACCEPTED, Seen
from loadtests.verdict.database import DATABASE_URL
from tests.system.conftest import Shop
from tests.system.operators import PROJECT

GUIDE = (PROJECT / "docs" / "load-testing.md").read_text()
SHORT = "--users 12 --spike-users 24 --quiet-seconds 1 --run-time 4s --event-capacity 400"
# How Locust itself reads a command line, without running anything.
UNDERSTAND = """
import sys
from locust.main import merge_locustfiles_content
merge_locustfiles_content(["loadtests/locustfile.py"])
from locust.argument_parser import get_parser
for line in sys.stdin:
    get_parser().parse_args(line.split())
"""


def run(shop: Shop, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=PROJECT,
        env=shop.operator.environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def observations(folder: Path) -> list[Seen]:
    lines = (folder / "observations.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Seen) for line in lines]


def test_two_processes_rehearse_a_sale_and_leave_one_report_of_all_they_saw(
    shop: Shop, tmp_path: Path
) -> None:
    arguments = [*SHORT.split(), "--processes", "2", "--report-dir", str(tmp_path)]
    ended = run(shop, "loadtests", *arguments)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Verdict: good (exit code 0)" in ended.stdout

    summary: dict[str, Any] = msgspec.json.decode((tmp_path / "summary.json").read_bytes())
    (ticket_type,) = summary["ticket_types"]
    with shop.database() as rows:
        rows.execute(
            "SELECT id::text, idempotency_key IS NULL FROM ticket_purchases"
            " WHERE ticket_type_id = %s",
            (ticket_type,),
        )
        stored = dict(rows.fetchall())
    # The last ones, too, that a worker saw are there; only the abuser, without a key, looks away.
    seen = {answer.id for answer in observations(tmp_path)}
    assert {id_ for id_, is_abusers in stored.items() if not is_abusers} <= seen <= stored.keys()
    assert summary["verdict"]["checked"]["every purchase answered with 202 is decided"] > 0
    moments = (tmp_path / "moments.csv").read_text().splitlines()
    assert len(moments) > 4
    assert (tmp_path / "sale.png").read_bytes().startswith(b"\x89PNG")
    assert "Locust" in (tmp_path / "locust.html").read_text()
    assert (tmp_path / "locust_stats.csv").exists()

    # What is checked again later, finds what is wrong by then.
    with (tmp_path / "observations.jsonl").open("ab") as lines:
        lines.write(msgspec.json.encode(Seen(id="0" * 32, status=ACCEPTED)) + b"\n")
    again = run(shop, "loadtests.verdict.check", str(tmp_path))
    assert again.returncode == 2, again.stdout + again.stderr
    assert "has no row" in again.stdout


def test_locust_understands_every_command_of_the_guide() -> None:
    commands = "\n".join(
        re.findall(r"^ *```sh\n(.*?)^ *```$", GUIDE, flags=re.DOTALL | re.MULTILINE)
    )
    lines = commands.replace("\\\n", " ").splitlines()
    told = [shlex.split(line, comments=True) for line in lines]
    locust = [words[1:] for words in told if words and words[0].endswith("/locust")]
    locust += [words[3:] for words in told if words[1:3] == ["-m", "loadtests"]]
    made = [words[2:] for words in told if words[:2] == ["make", "loadtest"]]
    arguments = [part.removeprefix("ARGS=") for words in made for part in words]
    typed = [*map(" ".join, locust), *arguments]
    assert len(typed) >= 5
    understood = subprocess.run(
        [sys.executable, "-c", UNDERSTAND],
        cwd=PROJECT,
        input="\n".join(typed),
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if name != DATABASE_URL},
    )
    assert understood.returncode == 0, understood.stderr
