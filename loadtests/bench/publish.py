"""`python -m loadtests.bench.publish REPORT...`: documents get the figures of full runs.

It writes docs/benchmark.json, and from it the figures in README.md and docs/*.md.
"""

import sys
from pathlib import Path

import click

from loadtests.bench.report.documents import BLOCK, filled
from loadtests.bench.report.machine import PROJECT
from loadtests.bench.report.published import Published
from shared.errors import ConfigurationError


def publish(reports: list[Path], project: Path) -> list[Path]:
    """Returns the files that it changed.

    Raises:
        ConfigurationError: a report is not valid, or a document has a figure that none measured.
    """
    file = project / "docs" / "benchmark.json"
    published = Published.read(file) if file.exists() else Published({}, {})
    for report in reports:
        published = published.with_report(report)
    changed = {
        document: text
        for document in documents(project)
        if (text := filled(document.read_text(), published)) != document.read_text()
    }
    published.write(file)
    for document, text in changed.items():
        document.write_text(text)
    return [file, *changed]


def documents(project: Path) -> list[Path]:
    """Those that have figures of the benchmark."""
    pages = [project / "README.md", *sorted((project / "docs").glob("*.md"))]
    return [page for page in pages if BLOCK.search(page.read_text())]


@click.command()
@click.argument("reports", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def main(reports: tuple[Path, ...]) -> None:
    """Publish the figures of these bench.json; later ones replace earlier ones."""
    try:
        for file in publish(list(reports), PROJECT):
            click.echo(f"wrote {file.relative_to(PROJECT)}")
    except ConfigurationError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
