"""Redocly and Spectral find no error in the OpenAPI document, and no warning without a reason."""

from pathlib import Path

from tests.clients.commands import run_together
from tests.clients.node import HERE, Node


def test_the_document_passes_the_linters(node: Node, document: Path, tmp_path: Path) -> None:
    run_together(
        tmp_path,
        node.command("redocly", "lint", document, "--config", HERE / "redocly.yaml"),
        node.command(
            *("spectral", "lint", document, "--ruleset", HERE / "spectral.yaml"),
            *("--fail-severity", "warn"),
        ),
    )
