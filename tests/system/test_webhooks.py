"""Webhooks over HTTP: a whole system, a receiver, and the receiver of the guide."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest
from psycopg2 import errors
from standardwebhooks import Webhook

from shared.database.engine import open_engine
from shared.database.epoch import renew_epoch
from shared.free_port import free_port
from tests.support.receivers import Receiver
from tests.support.waiting import eventually
from tests.system.conftest import Shop
from tests.system.operators import PROJECT
from tests.system.selling import TICKET_TYPES, WAIT, buy, put_on_sale

WEBHOOKS = "/api/webhooks/"
(GUIDE_RECEIVER,) = re.findall(
    r"^```python\n(.*?)^```$", (PROJECT / "docs/webhooks.md").read_text(), re.DOTALL | re.MULTILINE
)


@pytest.fixture
def owner(hooked_shop: Shop) -> httpx.Client:
    return hooked_shop.user()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().running() as receiver:
        yield receiver


def make(owner: httpx.Client, url: str, **fields: Any) -> dict[str, Any]:
    made = owner.post(WEBHOOKS, json={"url": url, **fields})
    assert made.status_code == 201, made.text
    assert made.headers["cache-control"] == "no-store"
    webhook: dict[str, Any] = made.json()
    return webhook


def event_of(owner: httpx.Client, ticket_type: int) -> int:
    event: int = owner.get(f"{TICKET_TYPES}{ticket_type}/").json()["event"]
    return event


def test_a_sale_comes_to_a_receiver(
    hooked_shop: Shop, owner: httpx.Client, receiver: Receiver
) -> None:
    ticket_type = put_on_sale(owner, 5)
    webhook = make(owner, f"{receiver.url}/hooks", event=event_of(owner, ticket_type))
    bought = buy(owner, ticket_type, **WAIT).json()

    def came() -> None:
        (request,) = receiver.of("/hooks")
        content = Webhook(webhook["secret"]).verify(request.body, request.headers)
        (entry,) = content["data"]["entries"]
        assert (entry["kind"], entry["purchase"]) == ("confirmed", bought["id"])
        assert entry["items"][0]["left_after"] == 4

    eventually(came, retry_on=(AssertionError, ValueError))
    address = f"{WEBHOOKS}{webhook['id']}/"

    def noted() -> None:
        (attempt,) = owner.get(f"{address}deliveries/").json()["results"]
        assert attempt.items() >= {"status": 200, "failure": None, "attempt": 1}.items()
        assert attempt["id"] == receiver.of("/hooks")[0].id

    eventually(noted, retry_on=(AssertionError, ValueError))
    secret = webhook.pop("secret")
    assert owner.get(address).json() == webhook
    assert secret not in owner.get(WEBHOOKS).text


def test_a_webhook_is_changed_tested_rotated_rewound_and_deleted(
    owner: httpx.Client, receiver: Receiver
) -> None:
    ticket_type = put_on_sale(owner, 5)
    event = event_of(owner, ticket_type)
    webhook = make(owner, f"{receiver.url}/first")
    address = f"{WEBHOOKS}{webhook['id']}/"
    changed = owner.patch(address, json={"url": f"{receiver.url}/other", "enabled": False})
    assert changed.json()["disabled_reason"] == "owner"
    rotated = owner.post(f"{address}rotate-secret/").json()["secret"]
    assert rotated != webhook["secret"]

    tested = owner.post(f"{address}test/")
    assert tested.status_code == 202

    def test_came() -> None:
        (request,) = receiver.of("/other")
        assert request.id == tested.json()["id"]
        for secret in (webhook["secret"], rotated):
            assert Webhook(secret).verify(request.body, request.headers)["type"] == "webhook.test"

    eventually(test_came, retry_on=(AssertionError, ValueError))

    assert owner.patch(address, json={"enabled": True}).json()["enabled"] is True
    rewound = owner.post(f"{address}rewind/", json={"after": 0, "event": event})
    assert rewound.json() == {"event": event, "after": 0}

    def issued_came() -> None:
        assert receiver.of("/other")[1].content["data"]["entries"][0]["kind"] == "issued"

    eventually(issued_came, retry_on=(AssertionError, IndexError))
    assert owner.delete(address).status_code == 204
    assert owner.get(address).status_code == owner.delete(address).status_code == 404


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"url": "ftp://shop.example/"}, "url_not_allowed", "url"),
        ({"url": "https://me:secret@shop.example/"}, "url_not_allowed", "url"),
        ({"url": "https://10.0.0.1/"}, "url_not_allowed", "url"),
        ({"url": "https://[::ffff:169.254.169.254]/"}, "url_not_allowed", "url"),
        ({}, "invalid", "url"),
        ({"url": 7}, "invalid", "url"),
        ({"url": "https://shop.example/", "event": 10**9}, "invalid", "event"),
        ({"url": "https://shop.example/", "event": "1"}, "invalid", "event"),
        ({"url": "https://shop.example/", "kinds": []}, "invalid", "kinds"),
        ({"url": "https://shop.example/", "kinds": ["sold"]}, "invalid", "kinds.0"),
        ({"url": "https://shop.example/", "kinds": ["held", "held"]}, "invalid", "kinds"),
        ({"url": "https://shop.example/", "secret": "x"}, "invalid", "secret"),
    ],
)
def test_a_webhook_that_cannot_be_is_refused_by_field(
    owner: httpx.Client, body: dict[str, Any], code: str, field: str
) -> None:
    refused = owner.post(WEBHOOKS, json=body)
    assert refused.status_code == 400
    assert (refused.json()["code"], *refused.json()["errors"]) == (code, field)


def test_webhooks_are_their_owners_alone(hooked_shop: Shop, owner: httpx.Client) -> None:
    webhook = make(owner, "https://shop.example/")
    ticket_type = put_on_sale(owner, 1)
    stranger = hooked_shop.user()
    address = f"{WEBHOOKS}{webhook['id']}/"
    for method, path, body in [
        ("GET", "", None),
        ("PATCH", "", {"enabled": False}),
        ("DELETE", "", None),
        ("POST", "rotate-secret/", None),
        ("POST", "test/", None),
        ("POST", "rewind/", {"after": 0}),
        ("GET", "deliveries/", None),
    ]:
        assert stranger.request(method, address + path, json=body).status_code == 404, path
    of_mine = {"url": "https://shop.example/", "event": event_of(owner, ticket_type)}
    assert stranger.post(WEBHOOKS, json=of_mine).json()["errors"].keys() == {"event"}
    assert owner.get(address).json()["enabled"] is True


def test_there_is_a_limit_of_webhooks_and_of_secrets(owner: httpx.Client) -> None:
    webhooks = [make(owner, "https://shop.example/") for _ in range(3)]
    assert owner.post(WEBHOOKS, json={"url": "https://shop.example/"}).status_code == 409
    rotate = f"{WEBHOOKS}{webhooks[0]['id']}/rotate-secret/"
    assert [owner.post(rotate).status_code for _ in range(5)] == [200] * 4 + [409]


def test_a_rewind_beyond_the_ledger_is_refused(owner: httpx.Client) -> None:
    ticket_type = put_on_sale(owner, 1)
    event = event_of(owner, ticket_type)
    of_event = make(owner, "https://shop.example/", event=event)
    of_all = make(owner, "https://shop.example/")
    for webhook, body, field in [
        (of_event, {"after": 10**6}, "after"),
        (of_event, {"after": 0, "event": event + 1}, "event"),
        (of_all, {"after": 0}, "event"),
        (of_all, {"after": 0, "event": 10**9}, "event"),
    ]:
        refused = owner.post(f"{WEBHOOKS}{webhook['id']}/rewind/", json=body)
        assert refused.status_code == 400
        assert refused.json()["errors"].keys() == {field}


def test_no_service_but_the_sender_reads_secrets(hooked_shop: Shop) -> None:
    urls = (hooked_shop.home.path / "state.json").read_text()
    for service in ("gateway", "catalog", "worker"):
        (url,) = re.findall(rf"postgresql://eventify_{service}_login:[^\"]+", urls)
        with (
            closing(psycopg2.connect(url)) as reading,
            reading.cursor() as cursor,
            pytest.raises(errors.InsufficientPrivilege),
        ):
            cursor.execute("SELECT secret FROM webhook_secrets")


@contextmanager
def running_guide(folder: Path, port: int, secret: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", GUIDE_RECEIVER],
        cwd=folder,
        env=os.environ | {"WEBHOOK_SECRET": secret, "PORT": str(port)},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def kept(folder: Path) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(folder / "entries.db")) as books:
        return books.execute(
            "SELECT epoch, number FROM entries WHERE aside IS NULL ORDER BY rowid"
        ).fetchall()


def test_the_receiver_of_the_guide_keeps_each_entry_once(
    hooked_shop: Shop, owner: httpx.Client, tmp_path: Path
) -> None:
    """It is killed between, is sent everything twice, and learns of a restored database."""
    assert sum(bool(line.strip()) for line in GUIDE_RECEIVER.splitlines()) <= 30
    ticket_type = put_on_sale(owner, 50)
    event = event_of(owner, ticket_type)
    port = free_port()
    webhook = make(owner, f"http://127.0.0.1:{port}/", event=event)
    with running_guide(tmp_path, port, webhook["secret"]) as guide:
        for _ in range(5):
            buy(owner, ticket_type, **WAIT)
        eventually(lambda: _kept(tmp_path, [2]), retry_on=(AssertionError, sqlite3.Error))
        guide.send_signal(signal.SIGKILL)
    for _ in range(5):
        buy(owner, ticket_type, **WAIT)
    with running_guide(tmp_path, port, webhook["secret"]):
        eventually(lambda: _equal([n for _, n in kept(tmp_path)], list(range(2, 12))))
        owner.post(f"{WEBHOOKS}{webhook['id']}/rewind/", json={"after": 0})
        eventually(lambda: _equal(sorted(n for _, n in kept(tmp_path)), list(range(1, 12))))
        engine = open_engine(hooked_shop.settings, "test")
        lease_seconds = hooked_shop.settings.webhook_lease_seconds
        assert renew_epoch(engine, restored=True, lease_seconds=lease_seconds)
        engine.dispose()
        buy(owner, ticket_type, **WAIT)
        eventually(lambda: _equal(len(kept(tmp_path)), 12))
        (*_, (epoch, number)) = kept(tmp_path)
        assert number == 12
        assert {each for each, n in kept(tmp_path) if n < 12} == {kept(tmp_path)[0][0]} != {epoch}
        # As if the backup had none of them: what is of another epoch is forgotten.
        owner.post(f"{WEBHOOKS}{webhook['id']}/rewind/", json={"after": 0})
        eventually(lambda: _equal(sorted(kept(tmp_path)), [(epoch, n) for n in range(1, 13)]))
    with closing(sqlite3.connect(tmp_path / "entries.db")) as books:
        ((commands, rows),) = books.execute("SELECT count(DISTINCT command), count(*) FROM entries")
    assert (commands, rows) == (12, 23), "what has come again is known by its command"


def _kept(folder: Path, numbers: list[int]) -> None:
    assert set(numbers) <= {number for _, number in kept(folder)}


def _equal(found: object, wanted: object) -> None:
    assert found == wanted
