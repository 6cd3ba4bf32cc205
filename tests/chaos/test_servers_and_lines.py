"""Whatever befalls PostgreSQL, Redis and the lines to them, every promise holds."""

import random

import pytest

from tests.chaos.catalogue import FAULTS, random_pair
from tests.chaos.conftest import SEED, survives
from tests.chaos.faults.fault import Fault
from tests.chaos.faults.redis_faults import RedisFrozen
from tests.chaos.system import System

# One at a time on one system, which each of them leaves well.
pytestmark = pytest.mark.timeout(300)
# `make chaos` freezes Redis too, for ten seconds each time; a line to it that is silent is like it.
STRIKING = [
    fault
    for kind in ("redis", "hints", "postgres", "network")
    for fault in FAULTS[kind]
    if fault is not RedisFrozen
]
# `make chaos` draws more of them than could be tried here.
_chance = random.Random(SEED)
PAIRS = [random_pair(_chance) for _ in range(2)]


@pytest.mark.parametrize("fault", STRIKING)
def test_nothing_is_lost_whatever_befalls_servers_and_lines(
    system: System, fault: type[Fault]
) -> None:
    survives(system, fault)


@pytest.mark.parametrize(
    "pair", PAIRS, ids=["-".join(fault.__name__ for fault in pair) for pair in PAIRS]
)
def test_two_faults_at_once_break_no_promise(system: System, pair: list[type[Fault]]) -> None:
    survives(system, *pair)
