"""Plans of statements, as EXPLAIN (FORMAT JSON) has them."""

from collections.abc import Iterator
from typing import Any


def scans(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "Scan" in node["Node Type"]:
        yield node
    for below in node.get("Plans", ()):
        yield from scans(below)
