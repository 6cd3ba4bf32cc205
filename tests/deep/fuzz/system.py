"""A system to be fuzzed: nobody is slowed down in it, and a few rows are there."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from tests.system.operators import PROJECT, Operator, an_operator

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
# So high that it is never met; with none at all the headers that tell of it would not be there.
NEVER_MET = "1000000"
SETTINGS = {
    "EVENTIFY_PURCHASE_RATE_BURST": NEVER_MET,
    "EVENTIFY_PURCHASE_RATE_PER_SECOND": NEVER_MET,
    "EVENTIFY_CATALOG_WRITE_RATE_BURST": NEVER_MET,
    "EVENTIFY_CATALOG_WRITE_RATE_PER_SECOND": NEVER_MET,
    "EVENTIFY_LIST_RATE_BURST": NEVER_MET,
    "EVENTIFY_LIST_RATE_PER_SECOND": NEVER_MET,
    "EVENTIFY_SIGN_IN_RATE_BURST": NEVER_MET,
    "EVENTIFY_SIGN_IN_RATE_PER_SECOND": NEVER_MET,
    "EVENTIFY_WEBHOOKS_MAX_OF_USER": NEVER_MET,
    # Shorter than Schemathesis waits: at its end, a ledger is waited for.
    "EVENTIFY_WAIT_MAX_SECONDS": "2",
    # Nothing listens there, and nothing is sent to anybody else.
    "EVENTIFY_WEBHOOK_ALLOW_HTTP": "true",
    "EVENTIFY_WEBHOOK_ALLOWED_NETWORKS": "127.0.0.1",
    # The token that comes with every request lasts for the longest run.
    "EVENTIFY_ACCESS_TOKEN_SECONDS": "86400",
}


@dataclass(frozen=True)
class FuzzedSystem:
    """A running system, and the token of the user who will ask it everything."""

    operator: Operator
    token: str

    def fuzz(self, *options: str, quietly: bool) -> subprocess.CompletedProcess[str]:
        """Ask it all that the document allows and forbids.

        Args:
            options: of `schemathesis run`, such as `--seed 7`.
            quietly: keep what is printed for the caller.
        """
        program = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION)]
        return subprocess.run(
            [*program, "run", f"{self.operator.url}/api/schema/", *options],
            cwd=PROJECT,
            env=self.operator.environment | {"EVENTIFY_FUZZ_TOKEN": self.token},
            capture_output=quietly,
            text=True,
            check=False,
        )


@contextmanager
def a_system() -> Iterator[FuzzedSystem]:
    """A running system, with two events and a ticket type of each, whose ids are 1 and 2.

    The first event has another ticket type, 3, for carts, which is held until it is paid. The first
    ones belong to the user who does the asking, and have a purchase, so that nothing can delete
    them; the second ones belong to someone else.
    """
    with an_operator() as operator:
        started = operator.run("up", "--detach", "--port", str(operator.port), **SETTINGS)
        assert started.returncode == 0, started.stderr
        mine, other = operator.run("token", "fuzz", "--count", "2").stdout.split()
        for token in (mine, other):
            _sell_a_ticket(operator.url, token)
        with _client(operator.url, mine) as client:
            _put_on_sale(client, event=1, hold_seconds=1_800)
        yield FuzzedSystem(operator, mine)


def _client(url: str, token: str) -> httpx.Client:
    bearer = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=url, headers=bearer, timeout=40)


def _sell_a_ticket(url: str, token: str) -> None:
    starts = datetime.now(UTC) + timedelta(days=30)
    with _client(url, token) as client:
        times = {"start_time": starts.isoformat(), "end_time": "2100-01-01T00:00:00Z"}
        event = client.post("/api/events/", json={"title": "Concert", **times}).json()["id"]
        ticket_type = _put_on_sale(client, event)
        bought = client.post(
            "/api/ticket-purchases/",
            json={"ticket_type": ticket_type, "quantity": 1},
            headers={"Prefer": "wait=20"},
        )
        assert bought.status_code == 201, bought.text


def _put_on_sale(client: httpx.Client, event: int, **terms: int) -> int:
    offer = {"event": event, "name": "Standing", "price": "25.00", "capacity": 1_000_000}
    created = client.post("/api/ticket-types/", json=offer | terms)
    assert created.status_code == 201, created.text
    id_: int = created.json()["id"]
    return id_
