"""Every place that says how many connections a service opens says the same.

What settings add up to is in tests/integration/deploy/test_operations_guide.py.
"""

import pytest

from tests.support.pools import POOLS
from tests.support.services import PROJECT

EACH = {name: str(connections) for name, connections in POOLS.items()}
PLACES = {
    "deploy/kubernetes/components/cloudnative-pg/cluster.yaml": [
        "gateways with {gateway} each, 8 workers with {worker}, catalogs with {catalog},",
        "senders with {sender}, sweepers with {sweeper},",
    ],
    "deploy/kubernetes/base/gateway.yaml": ["up to {gateway} connections"],
    "docker-compose.yml": ["opens up to {gateway}, a worker {worker}, the catalog {catalog}"],
    ".env.example": ["to {gateway} connections, a worker {worker}, the catalog {catalog}"],
    "docs/engines.md": ["up to {gateway} connections"],
    "docs/operations.md": [
        "`EVENTIFY_WORKER_PROCESSES`: {worker} |",
        "| sender | {sender} |",
    ],
    "docs/scaling.md": [
        "{gateway} for each gateway, 2 for each child of a worker, {sweeper} for each sweeper,",
        "{sender} for each sender, {catalog} for each catalog",
        "`{gateway} G + 2 * 2 W + {sweeper} S + {sender} N + {catalog} C`",
    ],
}


@pytest.mark.parametrize("path", PLACES)
def test_each_place_says_what_a_service_opens(path: str) -> None:
    words = (word for word in (PROJECT / path).read_text().split() if word != "#")
    text = " ".join(words)
    assert [place for place in PLACES[path] if place.format_map(EACH) not in text] == []


def test_the_example_of_the_guide_adds_up() -> None:
    most = 10 * POOLS["gateway"] + 4 * POOLS["worker"]
    most += 2 * (POOLS["sweeper"] + POOLS["sender"] + POOLS["catalog"])
    text = " ".join((PROJECT / "docs/scaling.md").read_text().split())
    example = "Ten gateways, four workers, two sweepers, two senders and two catalogs"
    assert f"{example}: {most}." in text


def test_composes_default_carries_five_gateways_and_as_many_workers() -> None:
    five = 5 * (POOLS["gateway"] + POOLS["worker"])
    assert five + sum(POOLS[one] for one in ("catalog", "sweeper", "sender")) + 3 <= 200
