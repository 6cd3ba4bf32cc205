"""The benchmark's figures in the documentation are those of docs/benchmark.json."""

import re
from pathlib import Path
from shutil import copyfile

import msgspec
import pytest

from loadtests.bench.publish import documents, publish
from loadtests.bench.report.documents import BLOCK, TABLES, filled
from loadtests.bench.report.figures import Figure, at_least
from loadtests.bench.report.machine import Machine
from loadtests.bench.report.published import Published
from loadtests.bench.report.results import BenchReport, PartResult, write_json
from loadtests.bench.sizes import FULL, QUICK, Sizes
from shared.errors import ConfigurationError
from tests.support.services import PROJECT

# Where every table is of the benchmark.
SECTIONS = (("README.md", "## How fast"), ("docs/benchmark.md", "## Figures"))
MACHINE = Machine(
    2, "a CPU", 8.0, "6.1", "3.11.7", "18.6", "0123456789", changed_since_commit=False
)


@pytest.fixture
def published() -> Published:
    return Published.read(PROJECT / "docs/benchmark.json")


@pytest.mark.parametrize("page", documents(PROJECT), ids=lambda page: page.name)
def test_every_figure_is_the_published_one(page: Path, published: Published) -> None:
    assert filled(page.read_text(), published) == page.read_text()


def test_a_figure_that_was_changed_by_hand_differs(published: Published) -> None:
    text = (PROJECT / "README.md").read_text()
    changed = re.sub(r"(two processes \| )[\d,]+( \|)", r"\g<1>1\2", text)
    assert changed != text
    assert filled(changed, published) == text
    with pytest.raises(ConfigurationError, match="no figure invented_per_second"):
        filled("<!-- bench invented_per_second -->1/s<!-- end -->", published)


@pytest.mark.parametrize(("page", "heading"), SECTIONS)
def test_no_table_of_figures_is_beside_them(page: str, heading: str) -> None:
    _, _, rest = (PROJECT / page).read_text().partition(f"\n{heading}\n")
    section = re.split(r"^## ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    assert "\n|" in section
    assert "\n|" not in BLOCK.sub("", section)


def report(folder: Path, sizes: Sizes = FULL, errors: tuple[str, ...] = ()) -> Path:
    names = {name for row in TABLES["holds"].rows for name in row.figures}
    figures = [
        Figure(name=name, label=name, unit="%", values=[91, 93.5, 90], target=at_least(95))
        for name in names
    ]
    part = PartResult("Holds", 1.0, figures)
    at = "2030-01-02T03:04:05+00:00"
    write_json(BenchReport(at, 60.0, MACHINE, sizes, [part], list(errors)), folder / "bench.json")
    return folder / "bench.json"


def test_a_report_of_some_parts_replaces_what_it_measured(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    copied = ["README.md", "docs/benchmark.md", "docs/benchmark.json"]
    for name in copied:
        copyfile(PROJECT / name, tmp_path / name)
    before = (tmp_path / "docs/benchmark.md").read_text()

    changed = publish([report(tmp_path)], tmp_path)

    assert changed == [tmp_path / "docs/benchmark.json", tmp_path / "docs/benchmark.md"]
    after = (tmp_path / "docs/benchmark.md").read_text()
    assert "| payments confirmed, decided and answered | 91.0 % (90.0-93.5) |" in after
    assert "Measured on 2030-01-02 at 03:04 UTC, commit `0123456`" in after
    assert [block[0] for block in BLOCK.finditer(before) if "table:whole" in block["name"]] == [
        block[0] for block in BLOCK.finditer(after) if "table:whole" in block["name"]
    ]
    # Once more nothing changes.
    assert publish([tmp_path / "bench.json"], tmp_path) == changed[:1]


@pytest.mark.parametrize(
    ("sizes", "errors", "reason"),
    [(QUICK, (), "of other sizes"), (FULL, ("an answer was 500",), "an answer was 500")],
)
def test_figures_that_say_little_are_not_published(
    sizes: Sizes, errors: tuple[str, ...], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        Published({}, {}).with_report(report(tmp_path, sizes, errors))
    assert msgspec.json.decode((tmp_path / "bench.json").read_bytes())["figures"]
