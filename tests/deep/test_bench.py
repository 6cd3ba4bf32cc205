"""The benchmark's parts at a tiny size: each works, and tells figures that can be true."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from loadtests.bench.load.loops import prepare_generator
from loadtests.bench.measure import PARTS, measure_growth, measure_parts
from loadtests.bench.report.chart import draw
from loadtests.bench.report.machine import this_machine
from loadtests.bench.report.published import Published
from loadtests.bench.report.results import BenchReport, table, write_json
from loadtests.bench.sizes import Sizes
from loadtests.bench.system.eventify import own_systems
from loadtests.bench.turns.bench import Bench
from loadtests.spawned import spawned_process
from shared.errors import ConfigurationError

# Its system and another one are made, and every part runs once.
pytestmark = pytest.mark.timeout(300)

TINY = Sizes(
    rounds=1,
    seconds=0.2,
    connections=8,
    known_tokens=10,
    new_tokens_each_turn=20,
    polled=20,
    many_ticket_types=3,
    drained=1_200,
    unvacuumed=2_400,
    sold_out_backlog=300,
    expired=100,
    latency_rates_per_second=(50,),
    latency_seconds=0.3,
    latency_rounds=1,
    tail_rounds=1,
    stored=(1_000,),
    deep_backlog=300,
    growth_rounds=1,
    waiting_clients=30,
    webhook_rounds=1,
)


@pytest.fixture(scope="module")
def report() -> BenchReport:
    """Of one system, which stands for the grown one as well."""
    with own_systems(1) as (system,), spawned_process(prepare_generator) as generator:
        bench = Bench(TINY, system, generator, lambda _line: None)
        parts = [measure_growth(bench, bench), *measure_parts(bench, PARTS)]
        return BenchReport(
            measured_at=datetime.now(UTC).isoformat(),
            seconds=1.0,
            machine=this_machine(system.engine),
            sizes=TINY,
            parts=parts,
            errors=bench.errors + system.check(),
        )


def test_every_part_is_measured_and_every_answer_is_as_expected(report: BenchReport) -> None:
    # Its system was audited as well, with a past that was put in by SQL.
    assert report.errors == []
    assert len(report.parts) == 1 + len(PARTS)
    # The kernel counts CPU time in hundredths of a second: some of so little is none.
    measured = [
        figure
        for figure in report.figures
        if "_cpu_of_" not in figure.name and not figure.name.startswith(("webhooks_", "tails_"))
    ]
    assert all(value > 0 for figure in measured for value in figure.values)
    assert any(figure.name == "webhooks_lag_seconds" for figure in report.figures)


def test_no_figure_of_a_tiny_benchmark_claims_a_target_of_the_full_size(
    report: BenchReport,
) -> None:
    assert [figure.name for figure in report.figures if figure.target is not None] == []


def test_it_is_reported_as_a_table_a_file_and_a_chart(report: BenchReport, tmp_path: Path) -> None:
    assert table(report).row_count == len(report.figures) + len(report.parts)
    write_json(report, tmp_path / "bench.json")
    reported = msgspec.json.decode((tmp_path / "bench.json").read_bytes())
    assert set(reported["figures"]) == {figure.name for figure in report.figures}
    assert reported["machine"]["cores"] >= 1
    with pytest.raises(ConfigurationError, match="of other sizes"):
        Published({}, {}).with_report(tmp_path / "bench.json")
    draw(report, tmp_path / "bench.png")
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")
