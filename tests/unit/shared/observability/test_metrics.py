"""Rules, alerts, dashboard and their documents agree with one another, and with the code."""

import json
import re
from collections import Counter
from types import ModuleType

import pytest
from prometheus_client.metrics import MetricWrapperBase

import gateway.metrics
import purchase_worker.metrics
import shared.observability.metrics
import webhook_sender.metrics
from tests.support.observability import (
    DASHBOARD,
    FOLDER,
    RULE_FILES,
    Panel,
    Rule,
    alerts,
    names_asked_for,
    panels,
    read_yaml,
    recorded,
    rules,
)
from tests.support.services import PROJECT

DOCUMENTED_METRIC = re.compile(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \| (.+) \|$", re.MULTILINE)
# What Prometheus makes of a histogram.
PARTS = re.compile(r"_(bucket|sum|count)$")


def defined() -> dict[str, MetricWrapperBase]:
    """Every metric in the code, by its name as Prometheus has it."""
    modules: list[ModuleType] = [
        shared.observability.metrics,
        gateway.metrics,
        purchase_worker.metrics,
        webhook_sender.metrics,
    ]
    found = {}
    for module in modules:
        for metric in vars(module).values():
            if isinstance(metric, MetricWrapperBase):
                (family,) = metric.describe()
                suffix = "_total" if family.type == "counter" else ""
                found[family.name + suffix] = metric
    return found


def name_of_alert(alert: Rule) -> str:
    name: str = alert["alert"]
    return name


def title_of(panel: Panel) -> str:
    title: str = panel["title"]
    return title


def test_every_metric_that_is_asked_for_is_in_the_code() -> None:
    asked_for = {PARTS.sub("", name) for name in names_asked_for() if ":" not in name}
    assert asked_for
    assert asked_for <= defined().keys()


def test_every_recorded_series_that_is_asked_for_is_recorded() -> None:
    assert {name for name in names_asked_for() if ":" in name} <= recorded()


def test_the_documented_metrics_are_those_of_the_code() -> None:
    document = (PROJECT / "docs" / "metrics.md").read_text()
    documented = {name: rest for name, *rest in DOCUMENTED_METRIC.findall(document)}
    expected = {}
    for name, metric in defined().items():
        (family,) = metric.describe()
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)
        expected[name] = [family.type, labels, family.documentation]
    assert documented == expected


@pytest.mark.parametrize("alert", alerts(), ids=name_of_alert)
def test_an_alert_has_a_summary_and_a_runbook(alert: Rule) -> None:
    name, notes = alert["alert"], alert["annotations"]
    assert notes.keys() == {"summary", "description", "runbook_url"}
    assert all(notes.values())
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert notes["runbook_url"] == f"docs/alerts.md#{name.lower()}"
    section = (PROJECT / "docs" / "alerts.md").read_text().split(f"\n## {name}\n")
    assert len(section) == 2, "one heading for each alert"
    text = section[1].split("\n## ")[0]
    assert text.strip().startswith(f"*{alert['labels']['severity']}.*")
    for part in ("**Buyers notice**", "**Look at**", "**Do**"):
        assert part in text


def test_every_heading_of_the_document_is_an_alert() -> None:
    headings = re.findall(r"^## (\w+)$", (PROJECT / "docs" / "alerts.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(map(name_of_alert, alerts()))


@pytest.mark.parametrize("panel", panels(), ids=title_of)
def test_a_panel_has_a_description_and_a_unit(panel: Panel) -> None:
    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "prometheus"}
    assert {target["refId"] for target in panel["targets"]}
    assert all(target["expr"] for target in panel["targets"])


def test_the_dashboard_is_provisioned_and_its_panels_do_not_overlap() -> None:
    provisioning = FOLDER / "grafana" / "provisioning"
    (source,) = read_yaml(provisioning / "datasources" / "prometheus.yml")["datasources"]
    assert source["uid"] == "prometheus"
    assert read_yaml(provisioning / "dashboards" / "eventify.yml")["providers"]
    every = json.loads(DASHBOARD.read_text())["panels"]
    assert max(Counter(panel["id"] for panel in every).values()) == 1
    covered: Counter[tuple[int, int]] = Counter()
    for panel in every:
        place = panel["gridPos"]
        covered.update(
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        )
    assert max(covered.values()) == 1
    assert max(x for x, _ in covered) == 23, "Grafana's grid has 24 columns"


def test_every_file_of_rules_is_read_by_both_configurations() -> None:
    assert RULE_FILES
    assert len({rule.get("alert") or rule["record"] for rule in rules()}) == len(rules())
    for name, glob in (("prometheus", "/etc/prometheus/rules"), ("one-machine", "rules")):
        configuration = read_yaml(FOLDER / "prometheus" / f"{name}.yml")
        assert configuration["rule_files"] == [f"{glob}/*.yml"]
