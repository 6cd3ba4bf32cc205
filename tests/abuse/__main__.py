"""`make abuse`: what one stranger can do to others, abuse by abuse, and a table of it."""

import signal
import sys
from pathlib import Path

import click
from rich.console import Console

from tests.abuse.attacks import ABUSES
from tests.abuse.measure import Limits, measuring
from tests.abuse.report import Report, markdown, table, verdict, write_json
from tests.abuse.scene import a_scene

# Wide enough for the table also where the output is no terminal.
WIDTH = 200


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", multiple=True, type=click.Choice(list(ABUSES)), help="May be repeated.")
@click.option("--seconds", type=click.FloatRange(min=1), default=10.0, show_default=True)
@click.option("--p99-floor-ms", type=float, default=Limits().p99_floor_ms, show_default=True)
@click.option("--tries", type=click.IntRange(min=1), default=Limits().tries, show_default=True)
@click.option("--list", "lists", is_flag=True, help="What there is; nothing is run.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="The report as a file.")
@click.option("--markdown", "as_markdown", is_flag=True, help="The table as Markdown.")
def main(
    only: tuple[str, ...],
    seconds: float,
    p99_floor_ms: float,
    tries: int,
    lists: bool,
    json_file: Path | None,
    as_markdown: bool,
) -> None:
    """Abuse a system of its own while ten buyers buy. Exit code 1 if a target was missed."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    if lists:
        for abuse in ABUSES.values():
            console.print(f"[bold]{abuse.name}[/]: {abuse.does}")
        return
    # Whoever asks us to stop finds nothing left running, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    limits = Limits(p99_floor_ms=p99_floor_ms, tries=tries)
    report = _run(console, only or tuple(ABUSES), seconds, limits)
    console.print()
    if as_markdown:
        sys.stdout.write(markdown(report.results) + "\n")
    else:
        console.print(table(report))
    for error in report.errors:
        console.print(f"[red]{error}[/]")
    if json_file is not None:
        write_json(report, json_file)
    sys.exit(0 if report.ok else 1)


def _run(console: Console, names: tuple[str, ...], seconds: float, limits: Limits) -> Report:
    results = []
    with a_scene() as scene, measuring(scene, seconds, limits) as measurement:
        for name in names:
            result = measurement.measure(ABUSES[name])
            results.append(result)
            reported = f"p99 {result.quiet_p99_ms:,.0f} -> {result.abused.p99_ms:,.0f} ms"
            console.print(f"{name:20} {reported:26} {verdict(result)}")
        errors = measurement.errors()
    return Report(seconds, limits, results, errors)


if __name__ == "__main__":
    main()
