"""`eventify export` and `eventify audit --from`, as commands of a shell."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from purchase_worker.drain import drain
from shared.config.settings import PREFIX, Settings
from shared.database.export import ROWS
from shared.free_port import free_port
from tests.support.command import eventify
from tests.support.every_kind import Sale
from tests.support.factories import ignore, queue_many, tamper

EVENTIFY = str(Path(sys.executable).with_name("eventify"))

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a command in an empty directory, without any setting but those that are named."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    without = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}

    def run(
        *command: str, database: str = "", **options: Any
    ) -> subprocess.CompletedProcess[bytes]:
        environment = without | ({"EVENTIFY_DATABASE_URL": database} if database else {})
        options = {"cwd": folder, "stdout": subprocess.PIPE} | options
        return subprocess.run(
            command,
            check=False,
            env=environment,
            stderr=subprocess.PIPE,
            timeout=120,
            **options,
        )

    return run


@pytest.fixture
def sale(engine: Engine, settings: Settings) -> Sale:
    sale = Sale(engine, settings)
    sale.sell_of_every_kind()
    return sale


@pytest.fixture
def exported(sale: Sale, settings: Settings) -> bytes:
    answer = eventify("export", str(sale.event), EVENTIFY_DATABASE_URL=settings.database_url)
    assert (answer.returncode, answer.stderr) == (0, "")
    return answer.stdout.encode()


def said(answer: subprocess.CompletedProcess[bytes]) -> tuple[int, str]:
    """The exit code, and the one sentence on standard error."""
    assert b"Traceback" not in answer.stderr, answer.stderr.decode()
    return answer.returncode, answer.stderr.decode()


def test_an_export_proves_the_sale_wherever_it_is_taken(exported: bytes, run: Run) -> None:
    answer = run(EVENTIFY, "audit", "--from", "-", input=exported)
    digest = json.loads(exported.splitlines()[-1])["sha256"]
    assert said(answer) == (0, "")
    text = answer.stdout.decode()
    assert digest in text
    assert "17 entries: 2 issued" in text
    assert "The audit passes" in text
    report = json.loads(run(EVENTIFY, "audit", "--json", "--from", "-", input=exported).stdout)
    assert (report["ok"], report["entries"], report["sha256"]) == (True, 17, digest)


def test_a_sale_that_breaks_a_promise_ends_with_1(exported: bytes, run: Run) -> None:
    altered = exported.replace(b'"Ann"', b'"Bob"')
    answer = run(EVENTIFY, "audit", "--from", "-", input=altered)
    assert said(answer) == (1, "")
    sentence = "The file was changed: its SHA-256 does not match its last line."
    assert sentence in answer.stdout.decode()
    assert "FAILS: 1 violation" in answer.stdout.decode()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda text: b"", "The file is empty"),
        (lambda text: text[: len(text) // 2], "incomplete: it was cut off after line "),
        (gzip.compress, "It is compressed: gunzip"),
        (lambda text: text.replace(b'"version":1', b'"version":99'), "another version of Eventify"),
        (lambda text: b"number,at,kind\r\n", "not an export"),
    ],
)
def test_what_is_no_whole_export_ends_with_2(
    exported: bytes, tmp_path: Path, spoil: Callable[[bytes], bytes], sentence: str
) -> None:
    file = tmp_path / "sale.ndjson"
    file.write_bytes(spoil(exported))
    answer = eventify("audit", "--from", str(file))
    assert (answer.returncode, answer.stdout) == (2, "")
    assert sentence in answer.stderr


@pytest.mark.parametrize(
    ("path", "sentence"), [("/", "Is a directory"), ("nothing.ndjson", "No such file")]
)
def test_what_is_no_file_ends_with_2(path: str, sentence: str) -> None:
    answer = eventify("audit", "--from", path)
    assert answer.returncode == 2
    assert sentence in answer.stderr


def test_an_event_that_never_was_has_no_export(run: Run, settings: Settings) -> None:
    answer = run(EVENTIFY, "export", "999999", database=settings.database_url)
    assert said(answer) == (1, "Error: There is no event 999999.\n")
    assert answer.stdout == b""


def test_an_export_that_could_not_be_finished_says_so(
    sale: Sale, settings: Settings, run: Run
) -> None:
    queue_many(sale.engine, sale.adult, 2 * ROWS)
    drain(sale.engine, [sale.event], settings, ignore)
    command = [EVENTIFY, "export", str(sale.event)]
    with Path("/dev/full").open("wb") as full:
        code, error = said(run(*command, database=settings.database_url, stdout=full))
    assert (code, error) == (1, "Error: No space left on device. The export is incomplete.\n")
    away = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    code, error = said(run(*command, database=away))
    assert code == 1
    assert "Connection refused" in error
    assert "The export is incomplete." in error
    tamper(sale.engine, f"DELETE FROM ledger WHERE event_id = {sale.event} AND number = 1500")
    answer = run(*command, database=settings.database_url)
    code, error = said(answer)
    assert (code, answer.stdout[-1:]) == (1, b"\n")
    assert "a number after 1000 is missing" in error
    assert "The export is incomplete." in error


def test_a_reader_that_has_enough_ends_an_export_quietly(
    exported: bytes, sale: Sale, settings: Settings, run: Run
) -> None:
    queue_many(sale.engine, sale.adult, 2 * ROWS)
    drain(sale.engine, [sale.event], settings, ignore)
    script = f"set -o pipefail; {EVENTIFY} export {sale.event} --format csv | head -1"
    answer = run("bash", "-c", script, database=settings.database_url)
    code, error = said(answer)
    assert (code, error) == (1, "")
    assert answer.stdout.startswith(b"\xef\xbb\xbfnumber,at,kind")
