"""Two faults at once. `make chaos` draws more of them than could be tried here."""

import random

import pytest

from tests.chaos.catalogue import random_pair
from tests.chaos.conftest import SEED, survives
from tests.chaos.faults.fault import Fault
from tests.chaos.system import System

_chance = random.Random(SEED)
PAIRS = [random_pair(_chance) for _ in range(3)]


@pytest.mark.parametrize(
    "pair", PAIRS, ids=["-".join(fault.__name__ for fault in pair) for pair in PAIRS]
)
def test_two_faults_at_once_break_no_promise(system: System, pair: list[type[Fault]]) -> None:
    survives(system, *pair)
