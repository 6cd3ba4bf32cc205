"""Every file, folder and heading that the documentation names exists."""

import re
from pathlib import Path

import pytest

from tests.support.services import PROJECT

PAGES = sorted(
    page
    for page in [*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md")]
    if page.name != "CHANGELOG.md"
)
PACKAGES = (
    "gateway",
    "catalog",
    "purchase_worker",
    "webhook_sender",
    "shared",
    "deploy",
    "loadtests",
    "tests",
    "docs",
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(rf"`((?:{'|'.join(PACKAGES)})/[\w./-]*)`")
# Written by commands that the pages describe.
GENERATED = ("deploy/docker/secrets", "loadtests/reports")


def anchors(page: Path) -> set[str]:
    """GitHub's anchors of a page's headings."""
    headings = re.findall(r"^#+ +(.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        if ":" in target:
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_path_exists(page: Path) -> None:
    named = {path for path in PATH.findall(page.read_text()) if not path.startswith(GENERATED)}
    assert {path for path in named if not (PROJECT / path).exists()} == set()
