"""Reads what processes tell of themselves in the text format of Prometheus."""

import httpx
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families


def figures(url: str | None = None) -> dict[str, float]:
    """Each series as it is written, with its figure: of a process's URL, or of this process."""
    text = generate_latest(REGISTRY).decode() if url is None else _read(url)
    return {
        _series(sample.name, sample.labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def figure(metric: MetricWrapperBase) -> float:
    """The one figure of a counter or gauge of this process."""
    (family,) = metric.collect()
    return family.samples[0].value


def _read(url: str) -> str:
    answer = httpx.get(url, timeout=5)
    assert answer.status_code == 200, answer.text
    return answer.text


def _series(name: str, labels: dict[str, str]) -> str:
    written = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return f"{name}{{{written}}}" if written else name
