"""The model of the protocol (docs/model): what its README says of it, and a part of it, checked."""

import re
from pathlib import Path

import pytest

from docs.model.check import (
    HOLD,
    MARK,
    MISSING,
    MODEL,
    VERSIONS,
    Version,
    can_run,
    check,
    description,
)

ROOT = Path(__file__).parents[3]
MODELS = (MODEL, MARK, HOLD)
README = MODEL.with_name("README.md")


def test_the_readme_has_each_version_that_is_checked_and_what_spin_finds_of_it() -> None:
    rows = [line for line in README.read_text().splitlines() if line.count(" | ") == 6]
    head, _line, *described = ["|".join(row.split("|")[:4]) + "|" for row in rows]
    assert head == "| version | macros | Spin finds |"
    assert described == [description(version) for version in VERSIONS]


def test_each_promise_of_the_model_is_broken_by_a_version() -> None:
    for model in MODELS:
        promised = {
            *re.findall(r"promise\((\w+),", model.read_text()),
            *re.findall(r"^ltl (\w+)", model.read_text(), re.MULTILINE),
        }
        broken = {v.breaks for v in VERSIONS if v.breaks and v.model == model}
        assert broken == promised - {"name"}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_each_macro_of_a_model_makes_a_version_that_is_checked(model: Path) -> None:
    asked = set(re.findall(r"^#ifn?def (\w+)", model.read_text(), re.MULTILINE))
    assert asked == {macro for v in VERSIONS if v.model == model for macro in v.macros}


def test_each_step_of_the_model_stands_for_a_file_that_there_is() -> None:
    models = "".join(model.read_text() for model in MODELS)
    named = set(re.findall(r"[\w/]+\.py\b", models)) - {"check.py"}
    assert {"gateway/purchases/store.py", "drain.py"} <= named
    for name in named:
        assert (ROOT / name).exists() or (ROOT / "purchase_worker" / name).exists(), name


@pytest.mark.skipif(not can_run(), reason=MISSING)
@pytest.mark.parametrize("version", [v for v in VERSIONS if v.is_quick], ids=lambda v: v.name)
def test_spin_finds_what_is_expected(version: Version) -> None:
    assert check(version).broken == version.breaks
