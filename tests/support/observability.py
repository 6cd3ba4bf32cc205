"""What deploy/observability holds, as Prometheus and Grafana read it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.support.services import PROJECT

FOLDER = PROJECT / "deploy" / "observability"
RULE_FILES = sorted(FOLDER.glob("prometheus/rules/*.yml"))
DASHBOARD = FOLDER / "grafana" / "dashboards" / "on-sale.json"
# Ours begin with `eventify_`; what rules record, with `eventify:`.
NAME = re.compile(r"\beventify[_:][a-z0-9_:]+")

Rule = dict[str, Any]
Panel = dict[str, Any]


def read_yaml(file: Path) -> Any:
    return yaml.safe_load(file.read_text())


def rules() -> list[Rule]:
    """Of all files, in order: those that record and those that alert."""
    return [
        rule
        for file in RULE_FILES
        for group in read_yaml(file)["groups"]
        for rule in group["rules"]
    ]


def alerts() -> list[Rule]:
    return [rule for rule in rules() if "alert" in rule]


def recorded() -> set[str]:
    return {rule["record"] for rule in rules() if "record" in rule}


def panels() -> list[Panel]:
    """Of the dashboard; those that show something."""
    every: list[Panel] = json.loads(DASHBOARD.read_text())["panels"]
    return [panel for panel in every if panel["type"] != "row"]


def expressions() -> Iterator[str]:
    """Every one that Prometheus is asked, by its rules or by the dashboard."""
    for rule in rules():
        yield rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield target["expr"]


def names_asked_for() -> set[str]:
    """Of metrics and of recorded series."""
    return {name for expression in expressions() for name in NAME.findall(expression)}
