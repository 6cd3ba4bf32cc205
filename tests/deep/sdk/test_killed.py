"""A thousand buyers whose programs are killed at random moments buy once each."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sdk.conftest import token_of
from tests.system.conftest import Shop
from tests.system.operators import PROJECT
from tests.system.selling import put_on_sale

CLIENTS_OF_PROCESS = 50


def buy_and_be_killed(
    shop: Shop, folder: Path, *, processes: int, kills: int, stored: bool
) -> tuple[list[str], list[str], int]:
    """The purchases that the clients know, those in the database, and how many kills there were."""
    folder.mkdir()
    ticket_type = put_on_sale(shop.user(), 10 * processes * CLIENTS_OF_PROCESS)
    order = {
        "url": shop.url,
        "tokens": [token_of(user) for user in shop.users(processes)],
        "ticket_type": ticket_type,
        "clients": CLIENTS_OF_PROCESS,
        "kills": kills,
        "stored": stored,
        "seed": random.randrange(1_000_000),
    }
    ended = subprocess.run(
        [sys.executable, "-m", "tests.sdk.buyers", json.dumps(order)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{PROJECT}:{PROJECT / 'sdk' / 'python'}"},
        capture_output=True,
        text=True,
        timeout=200,  # of a busy machine: it takes six seconds
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    known = [
        line.split()[1]
        for number in range(processes)
        for line in (folder / str(number) / "outcomes").read_text().splitlines()
    ]
    with shop.database() as cursor:
        cursor.execute(
            "SELECT id::text FROM requests WHERE ticket_type_id = %s AND kind = 'buy'",
            (ticket_type,),
        )
        return sorted(known), sorted(id_ for (id_,) in cursor.fetchall()), int(ended.stdout)


@pytest.mark.timeout(240)
def test_a_thousand_clients_killed_at_random_moments_buy_once_each(
    shop: Shop, tmp_path: Path
) -> None:
    known, in_database, kills = buy_and_be_killed(
        shop, tmp_path / "stored", processes=20, kills=3, stored=True
    )
    assert kills > 20
    assert len(in_database) == len(set(in_database)) == 1_000
    assert known == in_database


@pytest.mark.timeout(240)
def test_without_stored_keys_killed_clients_buy_twice(shop: Shop, tmp_path: Path) -> None:
    """The kills of the test above come at moments that matter."""
    known, in_database, _ = buy_and_be_killed(
        shop, tmp_path / "forgotten", processes=2, kills=3, stored=False
    )
    assert len(known) == 100
    assert len(in_database) > 100
