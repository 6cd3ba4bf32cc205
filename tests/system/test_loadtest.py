"""A rehearsal of an on-sale with Locust, and its guide. `make test-deep` has more rehearsals."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from loadtests.recording.database import DATABASE_URL
from loadtests.verdict.promises import Promise
from tests.system.conftest import Shop
from tests.system.operators import PROJECT
from tests.system.rehearsals import rehearsed_with_holds, request_counts

GUIDE = (PROJECT / "docs" / "load-testing.md").read_text()
# How Locust itself reads a command line, without running anything.
UNDERSTAND = """
import sys
from locust.main import merge_locustfiles_content
merge_locustfiles_content(["loadtests/locustfile.py"])
from locust.argument_parser import get_parser
for line in sys.stdin:
    get_parser().parse_args(line.split())
"""


def test_a_sale_with_holds_is_rehearsed_with_its_payments(shop: Shop, tmp_path: Path) -> None:
    summary = rehearsed_with_holds(
        shop, tmp_path, "--event-capacity", "300", "--hold-seconds", "30"
    )
    answers = summary["answers"]
    assert answers["held"] > 0 < answers["abandoned"]
    counts = request_counts(tmp_path / "locust")
    assert 0 < counts["/api/ticket-purchases/[id]/release/"] < answers["abandoned"]
    assert summary["verdict"]["checked"][Promise.PAYMENTS]
    with shop.database() as rows:
        rows.execute(
            "SELECT e.kind, count(*) FROM ledger e JOIN requests r ON r.id = e.command_id"
            " JOIN ticket_types t ON t.event_id = e.event_id"
            " WHERE t.id = %s AND r.kind IN ('confirm', 'release') GROUP BY 1",
            summary["ticket_types"][:1],
        )
        ended = dict(rows.fetchall())
    assert ended["confirmed"] == answers["paid"] > 0
    assert ended["released"] > 0


def test_locust_understands_every_command_of_the_guide() -> None:
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```$", GUIDE, flags=re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    commands = [shlex.split(line, comments=True) for line in lines]
    locust = [words[1:] for words in commands if words and words[0].endswith("/locust")]
    locust += [words[3:] for words in commands if words[1:3] == ["-m", "loadtests"]]
    made = [words[2:] for words in commands if words[:2] == ["make", "loadtest"]]
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
