"""docs/threat-model.md names settings, constants, tests and abuses that are there."""

import re
from collections.abc import Iterator
from fnmatch import filter as matching
from pathlib import Path

from shared.config.settings import Settings
from tests.abuse.attacks import ABUSES
from tests.support.services import PROJECT

PAGE = (PROJECT / "docs" / "threat-model.md").read_text()
NAMED = set(re.findall(r"`([^`]+)`", PAGE))
SERVICES = ("gateway", "catalog", "purchase_worker", "webhook_sender", "shared")


def code() -> Iterator[str]:
    for service in SERVICES:
        for file in (PROJECT / service).rglob("*.py"):
            yield file.read_text()


def test_each_setting_is_one() -> None:
    others = ("ticket_types", "max_per_user", "payment_reference", "session_replication_role")
    known = [*Settings.model_fields, *others]
    named = {name for name in NAMED if re.fullmatch(r"[a-z*]+(_[a-z*]+)+", name)}
    functions = {name for name in named if any(f"def {name}(" in text for text in code())}
    assert [name for name in named - functions if not matching(known, name)] == []


def test_each_constant_is_in_the_code() -> None:
    constants = {name for name in NAMED if re.fullmatch(r"[A-Z]+(_[A-Z]+)*", name)}
    text = "\n".join(code())
    others = {"CHECK", "SO_REUSEPORT", "PGSSLMODE", "PGSERVICE", "CELERY_BROKER_URL"}
    missing = {
        name for name in constants - others if not re.search(rf"^\s*{name}\b", text, re.MULTILINE)
    }
    assert missing == set()


def test_each_file_is_there() -> None:
    tests = {file.name for file in (PROJECT / "tests").rglob("test_*.py")}
    files = {name for name in NAMED if name.endswith(".py") or name.startswith("tests/")}
    missing = {name for name in files if not (PROJECT / name).exists() and name not in tests}
    assert missing == set()


def test_each_abuse_is_named() -> None:
    assert set(ABUSES) - NAMED == set()


def test_the_page_is_linked() -> None:
    links = [Path("README.md"), Path("docs/operations.md")]
    assert all("threat-model.md" in (PROJECT / page).read_text() for page in links)
