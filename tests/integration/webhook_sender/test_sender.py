"""What receivers get: in order, at least once, signed, whatever they answer."""

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from psycopg2 import OperationalError
from psycopg2.errors import LockNotAvailable, QueryCanceled
from psycopg2.extensions import cursor
from sqlalchemy import Engine
from standardwebhooks import Webhook, WebhookVerificationError

from gateway.accounts.store import lock, unlock
from gateway.webhooks import schemas, store
from gateway.webhooks.schemas import DEFAULT_KINDS
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.database.epoch import renew_epoch
from shared.free_port import free_port
from shared.messaging.redis_client import open_redis
from shared.purchases import DECIDED_CHANNEL
from tests.integration.webhook_sender.conftest import SECRET, Sale
from tests.support.factories import add_user, issue, run, scalar
from tests.support.receivers import (
    Receiver,
    Request,
    answer,
    at_first,
    close,
    drip,
    early_hints,
    endless_body,
    endless_informational,
    hang,
    raw,
    self_signed,
)
from tests.support.services import PROJECT, environment, running_service
from tests.support.waiting import eventually
from webhook_sender import sender as sender_module
from webhook_sender import store as sending
from webhook_sender.ledgers import Ledgers, Page
from webhook_sender.request import Requests
from webhook_sender.sender import DATABASE_THREADS, POLL_SHARE, Sender
from webhook_sender.store import DELIVERIES_KEPT, Claim, Found, claim, clean, prepare

SENDER = "webhook_sender"
MOMENTS = ("before_webhook_request", "after_webhook_request", "after_webhook_received")
# A sender, and the next one when it was killed: they start in no time, for all is imported. Its
# pid is in a file.
RESTARTED = """
import os, sys
from webhook_sender.__main__ import run
while True:
    pid = os.fork()
    if not pid:
        run()
        os._exit(0)
    with open(sys.argv[1] + ".new", "w") as file:
        file.write(str(pid))
    os.replace(sys.argv[1] + ".new", sys.argv[1])
    os.waitpid(pid, 0)
"""


@pytest.fixture
def sender(settings: Settings) -> Iterator[None]:
    with running_service(SENDER, settings):
        yield


def came(receiver: Receiver, path: str, first: int, last: int, **limit: float) -> None:
    """Wait until each of these numbers came, once, in order."""

    def check() -> None:
        assert receiver.numbers(path) == list(range(first, last + 1))

    eventually(check, **limit)


def nth_request(receiver: Receiver, nth: int) -> Request:
    return eventually(lambda: receiver.of("/hooks")[nth - 1], retry_on=IndexError)


def complete(requests: list[Request], first: int, last: int) -> None:
    """At least once and in order: one that came before was sent again from where it began."""
    numbers = [number for each in requests for number in each.numbers]
    assert sorted(set(numbers)) == list(range(first, last + 1))
    assert all(after <= before + 1 for before, after in pairwise(numbers))


def test_entries_come_signed_and_in_order(sale: Sale, receiver: Receiver, sender: None) -> None:
    sale.webhook(f"{receiver.url}/hooks")
    first, last = sale.last + 1, sale.sell(250)
    came(receiver, "/hooks", first, last)
    last = sale.sell(3)
    came(receiver, "/hooks", first, last)
    requests = receiver.of("/hooks")
    for request in requests:
        assert Webhook(SECRET).verify(request.body, request.headers) == request.content
        assert request.content["type"] == "ledger.entries"
        assert request.content["data"]["event"] == sale.event
        assert len(request.numbers) <= 100
    assert len({request.id for request in requests}) == len(requests)
    with pytest.raises(WebhookVerificationError):
        Webhook(b"x" * 32).verify(requests[0].body, requests[0].headers)


def test_without_webhooks_decisions_are_not_looked_up(
    sale: Sale, receiver: Receiver, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Collection[int] | None] = []
    follow = sending.follow_new_events

    def noted(engine: Engine, events: Collection[int] | None) -> None:
        asked.append(events)
        follow(engine, events)

    monkeypatch.setattr(sending, "follow_new_events", noted)
    redis = open_redis(settings)

    def polled_again(since: int) -> None:
        assert len(asked) > since + 1

    def follow_and_sell() -> None:
        eventually(lambda: _equal(redis.pubsub_numsub(DECIDED_CHANNEL)[0][1], 1))
        sale.sell()
        since = len(asked)
        eventually(lambda: polled_again(since))
        assert all(events is None for events in asked)
        sale.webhook(f"{receiver.url}/hooks")
        since = len(asked)
        eventually(lambda: polled_again(since))
        sale.sell()
        eventually(lambda: _equal({sale.event} in asked, True))

    async def run_sender() -> None:
        stopping = asyncio.Event()
        async with aclosing(Requests(settings)) as requests:
            sender = Sender(settings, sale.engine, requests)
            running = asyncio.create_task(sender.run(stopping, lambda: None))
            try:
                await asyncio.to_thread(follow_and_sell)
            finally:
                stopping.set()
                await running

    asyncio.run(run_sender())
    redis.close()


def test_a_failed_delivery_is_repeated_under_its_id_and_the_next_wait(
    sale: Sale, receiver: Receiver, sender: None
) -> None:
    webhook = sale.webhook(f"{receiver.url}/hooks")
    receiver.respond["/hooks"] = at_first(answer(500), times=3)
    first = sale.last + 1
    sale.sell(2)
    nth_request(receiver, 1)
    last = sale.sell(5)

    def received() -> None:
        complete(receiver.of("/hooks"), first, last)

    eventually(received)
    tries = receiver.of("/hooks")[:4]
    assert len({each.id for each in tries}) == 1
    assert {each.body for each in tries} == {tries[0].body}
    assert receiver.of("/hooks")[4].id != tries[0].id
    pauses = [after.at - before.at for before, after in pairwise(tries)]
    assert [pause >= least for pause, least in zip(pauses, (0.1, 0.2, 0.4), strict=True)] == [
        True,
        True,
        True,
    ]

    def noted() -> None:
        attempts = [(each.attempt, each.status, each.failure) for each in sale.attempts(webhook)]
        assert attempts[:4] == [(n, 500, "status") for n in (1, 2, 3)] + [(4, 200, None)]

    eventually(noted)
    assert sale.read(webhook).failing_since is None


def test_receivers_that_misbehave_are_tried_again_and_cost_nothing(
    sale: Sale, receiver: Receiver, sender: None
) -> None:
    elsewhere = f"{receiver.url}/elsewhere"
    misbehave = {
        "/hang": (at_first(hang), None, "timeout"),
        "/drip": (at_first(drip), None, "timeout"),
        "/redirect": (at_first(answer(307, Location=elsewhere)), 307, "redirect"),
        "/bad": (at_first(raw(b"no")), None, "connection"),
        "/close": (at_first(close), None, "connection"),
        "/102": (at_first(endless_informational), None, "connection"),
        "/000": (at_first(raw(b"HTTP/1.1 000 None\r\n\r\n")), None, "connection"),
        "/not-found": (at_first(answer(404)), 404, "status"),
    }
    receiver.respond = {path: respond for path, (respond, _, _) in misbehave.items()}
    webhooks = {path: sale.webhook(receiver.url + path) for path in misbehave}
    gone = sale.webhook(f"http://127.0.0.1:{free_port()}/")
    sale.sell()
    for path, (_, status, failure) in misbehave.items():

        def noted(path: str = path, wanted: object = [(status, failure), (200, None)]) -> None:
            attempts = sale.attempts(webhooks[path])
            assert [(each.status, each.failure) for each in attempts] == wanted, path

        eventually(noted)
    assert receiver.of("/elsewhere") == []
    assert {each.failure for each in sale.attempts(gone)} == {"connection"}


def test_informational_responses_are_passed_over(
    sale: Sale, receiver: Receiver, sender: None
) -> None:
    """Also on a connection that is used again."""
    receiver.respond["/hooks"] = early_hints
    webhook = sale.webhook(f"{receiver.url}/hooks")
    first = sale.last + 1
    for _ in range(4):
        came(receiver, "/hooks", first, sale.sell())
    eventually(lambda: _equal({each.failure for each in sale.attempts(webhook)}, {None}))


def test_of_ten_megabytes_only_the_status_is_taken(
    sale: Sale, receiver: Receiver, sender: None
) -> None:
    receiver.respond["/much"] = endless_body
    webhook = sale.webhook(f"{receiver.url}/much")
    first, last = sale.last + 1, sale.sell()
    came(receiver, "/much", first, last)
    eventually(lambda: _equal(len(sale.attempts(webhook)), 1))
    assert sale.attempts(webhook)[0].failure is None


def _equal(found: object, wanted: object) -> None:
    assert found == wanted


def test_410_disables_and_nothing_is_skipped(sale: Sale, receiver: Receiver, sender: None) -> None:
    receiver.respond["/hooks"] = at_first(answer(410))
    webhook = sale.webhook(f"{receiver.url}/hooks")
    first = sale.last + 1
    sale.sell(2)
    eventually(lambda: _equal(sale.read(webhook).disabled_reason, "gone"))
    last = sale.sell(2)
    assert sale.change(webhook, enabled=True).enabled
    eventually(lambda: complete(receiver.of("/hooks"), first, last))


@pytest.mark.parametrize(("status", "form"), [(429, "seconds"), (503, "date")])
def test_retry_after_is_honoured(
    sale: Sale, receiver: Receiver, sender: None, status: int, form: str
) -> None:
    def ask_to_wait(handler: BaseHTTPRequestHandler, nth: int) -> None:
        in_three_seconds = format_datetime(datetime.now(UTC) + timedelta(seconds=3))
        wanted = "2" if form == "seconds" else in_three_seconds
        answer(status, Retry_After=wanted)(handler, nth)

    receiver.respond["/hooks"] = at_first(ask_to_wait)
    sale.webhook(f"{receiver.url}/hooks")
    last = sale.sell()
    eventually(lambda: _equal(receiver.numbers("/hooks"), [last, last]))
    before, after = receiver.of("/hooks")
    assert after.at - before.at >= 1.9


def test_after_the_time_to_give_up_it_is_disabled(
    sale: Sale, receiver: Receiver, settings: Settings
) -> None:
    receiver.respond["/hooks"] = answer(500)
    webhook = sale.webhook(f"{receiver.url}/hooks")
    sale.sell()
    with running_service(SENDER, settings.model_copy(update={"webhook_give_up_seconds": 0.5})):
        eventually(lambda: _equal(sale.read(webhook).disabled_reason, "failing"))
    assert len(sale.attempts(webhook)) >= 2


def test_a_name_is_judged_by_the_address_that_is_connected_to(
    sale: Sale, receiver: Receiver, settings: Settings
) -> None:
    """The name is one of this machine: it passes every check of the URL itself."""
    webhook = sale.webhook(f"http://{socket.gethostname()}:{receiver.port}/hooks")
    sale.sell()
    with running_service(SENDER, settings.model_copy(update={"webhook_allowed_networks": ""})):
        eventually(lambda: _equal({e.failure for e in sale.attempts(webhook)}, {"address"}))
    assert receiver.requests == []


def test_a_certificate_has_to_be_valid(
    sale: Sale, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = self_signed(tmp_path)
    with Receiver(certificate).running() as receiver:
        webhook = sale.webhook(f"{receiver.url}/hooks")
        first, last = sale.last + 1, sale.sell()
        with running_service(SENDER, settings):
            eventually(lambda: _equal({e.failure for e in sale.attempts(webhook)}, {"tls"}))
        assert receiver.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
        with running_service(SENDER, settings):
            came(receiver, "/hooks", first, last)


def test_a_former_and_a_new_secret_both_sign(
    sale: Sale, receiver: Receiver, sender: None, engine: Engine
) -> None:
    webhook = sale.webhook(f"{receiver.url}/hooks")
    new = b"n" * 32
    store.rotate(engine, sale.owner, webhook.id, new)
    sale.sell()
    request = nth_request(receiver, 1)
    for secret in (SECRET, new):
        Webhook(secret).verify(request.body, request.headers)
    run(engine, "UPDATE webhook_secrets SET expires_at = now() WHERE expires_at IS NOT NULL")
    sale.sell()
    request = nth_request(receiver, 2)
    Webhook(new).verify(request.body, request.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(request.body, request.headers)


def test_a_delivery_that_is_repeated_is_signed_by_the_secrets_of_now(
    sale: Sale, receiver: Receiver, sender: None, engine: Engine
) -> None:
    webhook = sale.webhook(f"{receiver.url}/hooks")
    new = b"n" * 32

    def rotate_and_fail(handler: BaseHTTPRequestHandler, nth: int) -> None:
        store.rotate(engine, sale.owner, webhook.id, new)
        answer(500)(handler, nth)

    receiver.respond["/hooks"] = at_first(rotate_and_fail)
    sale.sell()
    first, then = nth_request(receiver, 1), nth_request(receiver, 2)
    assert (first.id, first.body) == (then.id, then.body)
    for secret in (SECRET, new):
        Webhook(secret).verify(then.body, then.headers)


@pytest.mark.parametrize("during", ["rest", "request"])
def test_a_rewound_webhook_gets_all_again_in_new_deliveries(
    sale: Sale, receiver: Receiver, sender: None, during: str
) -> None:
    webhook = sale.webhook(f"{receiver.url}/hooks")

    def rewind_and_receive(handler: BaseHTTPRequestHandler, nth: int) -> None:
        sale.rewind(webhook, 0)
        answer(200)(handler, nth)

    if during == "request":
        receiver.respond["/hooks"] = at_first(rewind_and_receive)
    first, last = sale.last + 1, sale.sell(5)
    nth_request(receiver, 1)
    if during == "rest":
        came(receiver, "/hooks", first, last)
        sale.rewind(webhook, 0)
    again = list(range(1, last + 1))
    eventually(lambda: _equal(receiver.numbers("/hooks"), list(range(first, last + 1)) + again))
    ids = [each.id for each in receiver.of("/hooks")]
    assert len(set(ids)) == len(ids)


def test_a_new_epoch_is_told_after_the_request_that_is_under_way(
    sale: Sale, receiver: Receiver, settings: Settings, engine: Engine
) -> None:
    settings = settings.model_copy(update={"webhook_timeout_seconds": 20.0})

    def renew_and_receive(handler: BaseHTTPRequestHandler, nth: int) -> None:
        lease_seconds = settings.webhook_lease_seconds
        renew_epoch(engine, restored=True, lease_seconds=lease_seconds)
        # Whoever is not waited for is told meanwhile, and gets more.
        eventually(lambda: _equal(len(_epochs(receiver, "/other")), 2))
        last = sale.sell()
        eventually(lambda: _equal(last in receiver.numbers("/other"), True))
        answer(200)(handler, nth)

    receiver.respond["/hooks"] = at_first(renew_and_receive)
    for path in ("/hooks", "/other"):
        sale.webhook(receiver.url + path)
    sale.sell()
    with running_service(SENDER, settings):
        eventually(lambda: _equal(len(_epochs(receiver, "/hooks")), 2))
    assert receiver.most_in_flight["/hooks"] == 1


def _epochs(receiver: Receiver, path: str) -> set[str]:
    return {each.content["data"]["epoch"] for each in receiver.of(path)}


def test_what_is_rejected_comes_only_where_it_is_wanted(
    sale: Sale, receiver: Receiver, sender: None, engine: Engine
) -> None:
    sale.webhook(f"{receiver.url}/all", kinds=["confirmed", "rejected"])
    webhook = sale.webhook(f"{receiver.url}/default")
    issue(engine, sale.ticket_type, -999_998)
    last = sale.sell(12_000)
    first = last - 11_999
    came(receiver, "/all", first, last)
    assert receiver.numbers("/default") == list(range(first - 1, first + 2))

    def behind_the_rejected() -> None:
        number = "SELECT number FROM webhook_cursors WHERE webhook_id = :id"
        assert scalar(engine, number, id=webhook.id) == last

    eventually(behind_the_rejected)


def test_a_webhook_for_all_events_follows_those_that_come(
    sale: Sale, receiver: Receiver, sender: None
) -> None:
    webhook = sale.webhook(f"{receiver.url}/hooks", event=None)
    sales = [sale, *(sale.other() for _ in range(6))]
    starts = [sale.last + 1] + [1] * 6
    lasts = [each.sell(3) for each in sales]

    def each_complete() -> None:
        for one, first, last in zip(sales, starts, lasts, strict=True):
            requests = [
                each for each in receiver.of("/hooks") if each.content["data"]["event"] == one.event
            ]
            complete(requests, first, last)

    eventually(each_complete)
    assert sale.read(webhook).event is None


def test_a_locked_account_gets_nothing_and_all_of_it_afterwards(
    sale: Sale, receiver: Receiver, sender: None, engine: Engine
) -> None:
    stranger = sale.other(add_user(engine))
    stranger.webhook(f"{receiver.url}/stranger")
    webhook = sale.webhook(f"{receiver.url}/hooks")
    first, last = sale.last + 1, sale.sell()
    came(receiver, "/hooks", first, last)
    lock(engine, sale.owner)
    run(engine, "UPDATE webhooks SET test_id = gen_random_uuid() WHERE id = :id", id=webhook.id)
    begin = stranger.last + 1
    for _ in range(3):
        last = sale.sell()
        came(receiver, "/stranger", begin, stranger.sell())
    assert receiver.numbers("/hooks") == [first]
    unlock(engine, sale.owner)
    came(receiver, "/hooks", first, last)
    eventually(lambda: _equal("webhook.test" in {_type(e) for e in receiver.of("/hooks")}, True))


def _type(request: Request) -> object:
    return request.content["type"]


def test_an_event_that_another_owns_is_sent_to_nobody_else(
    sale: Sale, receiver: Receiver, sender: None, engine: Engine
) -> None:
    new = add_user(engine)
    sale.webhook(f"{receiver.url}/former")
    sale.other(new).webhook(f"{receiver.url}/new", event=None)
    first, last = sale.last + 1, sale.sell()
    came(receiver, "/former", first, last)
    run(engine, "UPDATE events SET owner_id = :new WHERE id = :id", new=new, id=sale.event)
    came(receiver, "/new", 1, sale.sell(3))
    assert receiver.numbers("/former") == [first]


def test_an_event_that_is_deleted_is_sent_to_its_end(
    sale: Sale, receiver: Receiver, sender: None, engine: Engine
) -> None:
    receiver.respond["/hooks"] = at_first(answer(500))
    sale.webhook(f"{receiver.url}/hooks")
    first = sale.last + 1
    issue(engine, sale.ticket_type, -5)
    nth_request(receiver, 1)
    run(engine, "DELETE FROM ticket_types WHERE event_id = :id", id=sale.event)
    run(engine, "DELETE FROM events WHERE id = :id", id=sale.event)
    eventually(lambda: complete(receiver.of("/hooks"), first, sale.last))
    assert nth_request(receiver, 2).numbers


def test_kinds_that_are_changed_hold_for_all_that_is_not_received(
    sale: Sale, receiver: Receiver, sender: None, engine: Engine
) -> None:
    webhook = sale.webhook(f"{receiver.url}/hooks")
    issue(engine, sale.ticket_type, -999_998)

    def change_and_fail(handler: BaseHTTPRequestHandler, nth: int) -> None:
        sale.change(webhook, kinds=["confirmed", "rejected"])
        answer(500)(handler, nth)

    receiver.respond["/hooks"] = at_first(change_and_fail)
    first = sale.last + 1
    last = sale.sell(4)

    def all_came() -> None:
        numbers = [n for each in receiver.of("/hooks")[1:] for n in each.numbers]
        assert numbers == list(range(first, last + 1))

    eventually(all_came)


def test_nothing_is_passed_over_for_kinds_that_are_changed_meanwhile(
    sale: Sale, settings: Settings, engine: Engine
) -> None:
    """A sender has read which kinds are wanted, and not yet the entries."""
    webhook = sale.webhook("https://shop.example/", kinds=["cancelled"])
    wants = [*DEFAULT_KINDS]

    class Interrupted(Ledgers):
        def page(
            self,
            engine: Engine,
            event_id: int,
            epoch: str,
            after: int,
            last: int,
            kinds: Collection[str],
        ) -> Page:
            sale.change(webhook, kinds=wants)
            sale.sell()
            return super().page(engine, event_id, epoch, after, last, kinds)

    before = sale.last
    sale.sell()
    lease_seconds = settings.webhook_lease_seconds
    (claimed,) = claim(engine, None, {}, failing=False, limit=1, lease_seconds=lease_seconds)
    assert prepare(engine, Interrupted(), [claimed], lease_seconds) == Found([], [claimed])
    number = "SELECT number FROM webhook_cursors WHERE webhook_id = :id"
    assert scalar(engine, number, id=webhook.id) == before


def test_several_senders_do_nothing_twice(
    sale: Sale, receiver: Receiver, settings: Settings
) -> None:
    for nth in range(5):
        sale.webhook(f"{receiver.url}/{nth}")
    first = sale.last + 1
    with running_service(SENDER, settings), running_service(SENDER, settings):
        for _ in range(20):
            last = sale.sell(30)
        for nth in range(5):
            came(receiver, f"/{nth}", first, last)
    assert set(receiver.most_in_flight.values()) == {1}


@contextmanager
def restarted_sender(settings: Settings, folder: Path, name: str) -> Iterator[Path]:
    """Always one, whoever kills it; the file that has its pid."""
    pid_file = folder / name
    process = subprocess.Popen(
        [sys.executable, "-c", RESTARTED, pid_file],
        cwd=PROJECT,
        env=environment(settings) | {"EVENTIFY_FAILPOINTS": str(folder)},
        start_new_session=True,
    )
    try:
        eventually(lambda: _equal(pid_file.exists(), True), within_seconds=60)
        yield pid_file
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.timeout(300)
def test_nothing_is_skipped_through_twenty_kills(
    sale: Sale, receiver: Receiver, settings: Settings, tmp_path: Path
) -> None:
    """Of one of two senders: at each moment that matters, and at any other. If none of them was
    between a delivery and the record of it, there are more."""
    chance = random.Random(17)
    settings = settings.model_copy(update={"webhook_timeout_seconds": 0.2})
    good = ("/good", "/better", "/best")
    paths = (*good, "/fails", "/hangs")
    receiver.respond["/fails"] = lambda handler, nth: answer(500 if nth % 2 else 200)(handler, nth)
    receiver.respond["/hangs"] = lambda handler, nth: (hang if nth % 3 else answer(200))(
        handler, nth
    )
    for path in paths:
        sale.webhook(receiver.url + path)
    first, last = sale.last + 1, sale.sell()

    def more_came(before: int) -> None:
        assert len(receiver.requests) > before

    def repeated(path: str) -> bool:
        ids = [each.id for each in receiver.of(path)]
        return len(set(ids)) < len(ids)

    with (
        restarted_sender(settings, tmp_path, "one") as one,
        restarted_sender(settings, tmp_path, "two") as two,
    ):
        nth = 0
        while nth < 20 or not any(map(repeated, good)):
            last = sale.sell(chance.randint(1, 150))
            if nth % 2:
                request = tmp_path / MOMENTS[nth // 2 % len(MOMENTS)]
                request.touch()
                eventually(lambda request=request: _equal(request.exists(), False))  # type: ignore[misc]
            else:
                before = len(receiver.requests) + chance.randint(0, 5)
                eventually(lambda before=before: more_came(before))  # type: ignore[misc]
                os.kill(int(chance.choice((one, two)).read_text()), signal.SIGKILL)
            nth += 1
        for path in paths:
            eventually(
                lambda path=path: complete(receiver.of(path), first, last),  # type: ignore[misc]
                within_seconds=120,
            )
    for path in paths:
        bodies: dict[str, set[bytes]] = {}
        for each in receiver.of(path):
            bodies.setdefault(each.id, set()).add(each.body)
        assert {len(same) for same in bodies.values()} == {1}


def test_a_message_wakes_the_sender(sale: Sale, receiver: Receiver, settings: Settings) -> None:
    sale.webhook(f"{receiver.url}/hooks")
    with running_service(SENDER, settings.model_copy(update={"webhook_poll_seconds": 600.0})):
        first, last = sale.last + 1, sale.sell()
        came(receiver, "/hooks", first, last)  # by its first poll, or the message
        for _ in range(5):
            sold = time.monotonic()
            last = sale.sell()
            came(receiver, "/hooks", first, last)
            assert receiver.of("/hooks")[-1].at - sold < 2


def test_a_message_of_a_new_event_is_enough(
    sale: Sale, receiver: Receiver, settings: Settings
) -> None:
    sale.webhook(f"{receiver.url}/hooks", event=None)
    with running_service(SENDER, settings.model_copy(update={"webhook_poll_seconds": 600.0})):
        came(receiver, "/hooks", sale.last + 1, sale.sell())
        new = sale.other()
        last = new.sell()

        def all_came() -> None:
            requests = [
                each for each in receiver.of("/hooks") if each.content["data"]["event"] == new.event
            ]
            complete(requests, 1, last)

        eventually(all_came)


def test_without_redis_it_polls(sale: Sale, receiver: Receiver, settings: Settings) -> None:
    sale.webhook(f"{receiver.url}/hooks")
    away = f"redis://127.0.0.1:{free_port()}"
    with running_service(SENDER, settings.model_copy(update={"redis_url": away})):
        first, last = sale.last + 1, sale.sell()
        came(receiver, "/hooks", first, last)
        last = sale.sell()
        came(receiver, "/hooks", first, last)


def test_those_that_hang_slow_nobody_else(
    sale: Sale, receiver: Receiver, settings: Settings
) -> None:
    """Fifty hang, each with four events, for longer than the test lasts."""
    hanging = {"webhook_timeout_seconds": 60.0, "shutdown_seconds": 1}
    settings = settings.model_copy(update=hanging)
    others = [sale.other() for _ in range(3)]
    for nth in range(50):
        receiver.respond[f"/hang{nth}"] = hang
        sale.webhook(f"{receiver.url}/hang{nth}", event=None)
    for nth in range(50):
        sale.webhook(f"{receiver.url}/good{nth}")
    first = sale.last + 1
    with running_service(SENDER, settings):
        for each in others:
            each.sell()
        for _ in range(5):
            last = sale.sell()
            sold = time.monotonic()
            for nth in range(50):
                came(receiver, f"/good{nth}", first, last, within_seconds=40)
            slowest = max(receiver.of(f"/good{nth}")[-1].at for nth in range(50))
            assert slowest - sold < 30

        eventually(
            lambda: _equal([receiver.in_flight.get(f"/hang{n}", 0) for n in range(50)], [4] * 50)
        )
    assert all(receiver.most_in_flight[f"/hang{nth}"] == 4 for nth in range(50))


@pytest.mark.anyio
async def test_those_that_are_gone_are_not_remembered_as_slow(
    sale: Sale, receiver: Receiver, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is deleted, and one disabled."""
    monkeypatch.setattr(sender_module, "SLOW_MILLISECONDS", 0)
    monkeypatch.setattr(sender_module, "CLEAN_SECONDS", 0)
    deleted, disabled, other = (sale.webhook(f"{receiver.url}/hooks") for _ in range(3))
    async with sender_here(settings) as sending:

        async def slow_are(*webhooks: schemas.Webhook) -> None:
            ids = {webhook.id for webhook in webhooks}
            await asyncio.to_thread(eventually, lambda: _equal(sending.slow, ids))

        await asyncio.to_thread(sale.sell)
        await slow_are(deleted, disabled, other)
        store.remove(sale.engine, sale.owner, deleted.id)
        sale.change(disabled, enabled=False)
        await slow_are(other)


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Those with which failures are noted."""
    seen: list[object] = []
    transaction = sending.cursor_transaction

    class SeenCursor(cursor):
        def execute(self, query: Any, parameters: Any = None) -> None:
            seen.append(query)
            super().execute(query, parameters)

    @contextmanager
    def seen_transaction(engine: Engine) -> Iterator[cursor]:
        with transaction(engine) as plain:
            yield plain.connection.cursor(cursor_factory=SeenCursor)

    monkeypatch.setattr(sending, "cursor_transaction", seen_transaction)
    return seen


@pytest.mark.anyio
@pytest.mark.parametrize("interrupted", [False, True])
async def test_many_failures_are_noted_together(
    sale: Sale,
    receiver: Receiver,
    settings: Settings,
    statements: list[object],
    monkeypatch: pytest.MonkeyPatch,
    interrupted: bool,
) -> None:
    """One webhook was rewound meanwhile. The database may be away at the second transaction."""
    noted, calls = sending.failed, list[object]()
    together = threading.Barrier(50)

    def fail(handler: BaseHTTPRequestHandler, nth: int) -> None:
        if not together.wait():
            sale.rewind(rewound, 0)
        together.wait()
        answer(503)(handler, nth)

    def interrupted_once(*args: Any) -> Any:
        calls.append(args)
        if interrupted and len(calls) == 2:
            raise OperationalError
        return noted(*args)

    monkeypatch.setattr(sender_module, "NOTE_TOGETHER", 20, raising=False)
    monkeypatch.setattr(sending, "failed", interrupted_once)
    receiver.respond = {f"/{n}": at_first(fail) for n in range(50)}
    rewound, *others = (sale.webhook(f"{receiver.url}/{n}") for n in range(50))
    last = sale.sell()
    times = {"webhook_timeout_seconds": 60.0, "webhook_retry_first_seconds": 600.0}
    sale.settings = settings.model_copy(update=times)
    async with sender_here(sale.settings):
        again = [last, *range(1, last + 1)]
        await asyncio.to_thread(eventually, lambda: _equal(receiver.numbers("/0"), again))
    assert [each.status for each in sale.attempts(rewound)] == [503, 200]
    for webhook in others:
        assert [each.status for each in sale.attempts(webhook)] == [503]
    failures = "SELECT sum(failures) FROM webhook_cursors"
    assert scalar(sale.engine, failures) == len(others)
    assert len(statements) < 50


@asynccontextmanager
async def sender_here(settings: Settings) -> AsyncIterator[Sender]:
    """In this process."""
    stopping = asyncio.Event()
    engine = open_engine(settings, "sender", pool_size=DATABASE_THREADS)
    async with aclosing(Requests(settings)) as requests:
        sending = Sender(settings, engine, requests)
        running = asyncio.create_task(sending.run(stopping, lambda: None))
        try:
            yield sending
        finally:
            stopping.set()
            await running
    engine.dispose()


@pytest.mark.anyio
async def test_a_poll_that_fails_takes_its_share_of_the_time_too(
    sale: Sale, receiver: Receiver, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is cancelled by the database's time limit, but for its last."""
    ended: list[float] = []
    paused: list[float] = []

    def slow(*args: Any, **kwargs: Any) -> list[Claim]:
        if len(paused) == 2:
            return claim(*args, **kwargs)
        if ended:
            paused.append(time.monotonic() - ended[-1])
        time.sleep(0.05)
        ended.append(time.monotonic())
        raise QueryCanceled

    monkeypatch.setattr(sending, "claim", slow)
    sale.webhook(f"{receiver.url}/hooks")
    last = sale.sell()
    async with sender_here(settings):
        await asyncio.to_thread(came, receiver, "/hooks", last, last)
    assert min(paused) >= 0.05 / POLL_SHARE


@pytest.mark.anyio
async def test_retries_do_not_wait_for_many_new_events_to_be_followed(
    sale: Sale, receiver: Receiver, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "FOLLOW_ROWS", 10)
    followed: list[int] = []
    retried: list[int] = []
    follow = sending.follow_new_events

    def noted(engine: Engine, events: Collection[int] | None) -> None:
        follow(engine, events)
        followed.append(scalar(engine, "SELECT count(*) FROM webhook_cursors") - 1)

    def noted_claim(*args: Any, failing: bool, **kwargs: Any) -> list[Claim]:
        claims = claim(*args, failing=failing, **kwargs)
        retried.extend([len(followed)] * len(claims) * failing)
        return claims

    monkeypatch.setattr(sending, "follow_new_events", noted)
    monkeypatch.setattr(sending, "claim", noted_claim)
    failing = sale.other(add_user(sale.engine))
    failing.webhook(f"{receiver.url}/hooks")
    last = failing.sell()
    _make_due_again(sale.engine)
    for _ in range(3):
        sale.webhook(f"{receiver.url}/all", event=None)
    for _ in range(19):
        sale.other()
    run(sale.engine, "DELETE FROM webhook_cursors WHERE failures = 0")
    async with sender_here(settings):
        await asyncio.to_thread(came, receiver, "/hooks", last, last)
        await asyncio.to_thread(eventually, lambda: _equal(followed[:6], [*range(10, 61, 10)]))
    assert retried == [1]


@pytest.mark.anyio
@pytest.mark.parametrize("error", [QueryCanceled, LockNotAvailable])
async def test_retries_are_sent_though_new_events_cannot_be_followed(
    sale: Sale,
    receiver: Receiver,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
) -> None:
    def fail(_engine: Engine, _events: Collection[int] | None) -> None:
        raise error

    monkeypatch.setattr(sending, "follow_new_events", fail)
    sale.webhook(f"{receiver.url}/hooks")
    last = sale.sell()
    _make_due_again(sale.engine)
    async with sender_here(settings):
        await asyncio.to_thread(came, receiver, "/hooks", last, last)
        last = sale.sell()
        await asyncio.to_thread(came, receiver, "/hooks", last - 1, last)


def _make_due_again(engine: Engine) -> None:
    """As if what is to be sent had failed before."""
    run(engine, "UPDATE webhook_cursors SET failures = 1, failing_since = now(), next_at = now()")


def test_a_test_is_sent_once_also_where_the_webhook_is_disabled(
    sale: Sale, receiver: Receiver, sender: None, engine: Engine
) -> None:
    receiver.respond["/hooks"] = answer(500)
    webhook = sale.webhook(f"{receiver.url}/hooks")
    sale.change(webhook, enabled=False)
    sale.sell()
    test_id = scalar(engine, "UPDATE webhooks SET test_id = gen_random_uuid() RETURNING test_id")
    eventually(lambda: _equal([e.status for e in sale.attempts(webhook)], [500]))
    (request,) = receiver.of("/hooks")
    assert request.id == f"msg_{test_id.hex}" == sale.attempts(webhook)[0].id
    assert request.content["type"] == "webhook.test"
    Webhook(SECRET).verify(request.body, request.headers)
    assert sale.read(webhook).failing_since is None


def test_a_webhook_has_one_test_at_a_time(sale: Sale, receiver: Receiver, engine: Engine) -> None:
    webhook = sale.webhook(f"{receiver.url}/hooks")
    run(engine, "UPDATE webhooks SET test_id = gen_random_uuid()")
    assert sending.take_tests(engine, 10, {webhook.id}) == []
    (test,) = sending.take_tests(engine, 10, {webhook.id + 1})
    assert test.webhook_id == webhook.id


def test_a_stopped_sender_ends_what_it_has_begun(
    sale: Sale, receiver: Receiver, settings: Settings
) -> None:
    def slow(handler: BaseHTTPRequestHandler, nth: int) -> None:
        time.sleep(0.3)
        answer(200)(handler, nth)

    receiver.respond["/hooks"] = slow
    webhook = sale.webhook(f"{receiver.url}/hooks")
    with running_service(SENDER, settings):
        sale.sell()
        nth_request(receiver, 1)
    assert [each.status for each in sale.attempts(webhook)] == [200]


def test_the_newest_attempts_are_kept(sale: Sale, engine: Engine) -> None:
    webhook = sale.webhook("https://shop.example/")
    run(
        engine,
        "INSERT INTO webhook_deliveries (webhook_id, delivery_id, milliseconds)"
        " SELECT :id, gen_random_uuid(), n FROM generate_series(1, :rows) n",
        id=webhook.id,
        rows=DELIVERIES_KEPT + 5,
    )
    clean(engine, [webhook.id], lease_seconds=1.0, retry_max_seconds=1.0)
    kept = [each.milliseconds for each in sale.attempts(webhook)]
    assert kept == list(range(6, DELIVERIES_KEPT + 6))


@pytest.mark.anyio
async def test_only_webhooks_with_new_attempts_are_cleaned(
    sale: Sale, receiver: Receiver, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaned: list[set[int]] = []

    def noted(engine: Engine, webhooks: Collection[int], *seconds: float) -> None:
        cleaned.append({*webhooks})
        clean(engine, webhooks, *seconds)

    monkeypatch.setattr(sending, "clean", noted)
    monkeypatch.setattr(sending, "DELIVERIES_KEPT", 1)
    monkeypatch.setattr(sender_module, "CLEAN_SECONDS", 0)
    receiver.respond["/failing"] = answer(500)
    received, failing, tested = (
        sale.webhook(f"{receiver.url}/{path}") for path in ("hooks", "failing", "test")
    )
    sale.change(tested, enabled=False)
    sale.other().webhook(f"{receiver.url}/idle")

    def attempted(*webhooks: schemas.Webhook) -> None:
        assert {id_ for ids in cleaned for id_ in ids} == {webhook.id for webhook in webhooks}
        assert cleaned[-1] <= {failing.id}  # which is tried again and again

    async with sender_here(settings):
        await asyncio.to_thread(sale.sell)
        await asyncio.to_thread(eventually, lambda: attempted(received, failing))
        asked = "UPDATE webhooks SET test_id = gen_random_uuid() WHERE id = :id"
        await asyncio.to_thread(run, sale.engine, asked, id=tested.id)
        await asyncio.to_thread(eventually, lambda: attempted(received, failing, tested))
        await asyncio.to_thread(eventually, lambda: _equal(len(sale.attempts(failing)), 1))
