"""Many deliveries in a statement: each is prepared and noted as if it were alone."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import Engine, delete, text
from sqlalchemy.orm import Session

from catalog.ticket_types.store import set_audit_user
from gateway.accounts import store as accounts
from gateway.webhooks import store as gateway
from shared.config.settings import Settings
from shared.database.tables import Event
from tests.integration.webhook_sender.conftest import Sale
from tests.support.factories import add_event, add_user, rows, run, tamper
from tests.support.waiting import until_sessions_wait
from webhook_sender import store
from webhook_sender.ledgers import Ledgers
from webhook_sender.schedule import Outcome
from webhook_sender.store import Attempt, Claim, Found

URL = "https://shop.example/"
LEASE_SECONDS = 60.0
OK = Outcome(1, 200)


def claim(engine: Engine) -> list[Claim]:
    return sorted(
        store.claim(engine, None, {}, failing=False, limit=100, lease_seconds=LEASE_SECONDS)
    )


def prepare(engine: Engine, claims: list[Claim]) -> Found:
    return store.prepare(engine, Ledgers(), claims, LEASE_SECONDS)


def clean(engine: Engine) -> None:
    store.clean(engine, [], LEASE_SECONDS, retry_max_seconds=86_400.0)


def numbers(engine: Engine) -> list[int]:
    found = rows(engine, "SELECT number FROM webhook_cursors ORDER BY webhook_id")
    return [number for (number,) in found]


def test_each_goes_on_from_its_own_number(sale: Sale, engine: Engine) -> None:
    begun = []
    for _ in range(3):
        sale.webhook(URL)
        begun.append(sale.last)
        last = sale.sell(2)
    found = prepare(engine, claim(engine))
    assert found.again == []
    assert [(each.first, each.last) for each in found.deliveries] == [
        (number + 1, last) for number in begun
    ]
    assert len({each.message.id for each in found.deliveries}) == 3
    store.received(engine, [Attempt(each, OK, LEASE_SECONDS) for each in found.deliveries])
    assert numbers(engine) == [last] * 3
    assert prepare(engine, [each.claim for each in found.deliveries]) == Found([], [])


def followed(engine: Engine) -> int:
    return len(numbers(engine))


def test_many_new_events_are_followed_in_parts(
    sale: Sale, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "FOLLOW_ROWS", 10)
    for _ in range(3):
        sale.webhook(URL, event=None)
    for _ in range(19):
        add_event(engine, sale.owner)
    run(engine, "DELETE FROM webhook_cursors")
    parts = []
    for _ in range(7):
        store.follow_new_events(engine, None)
        parts.append(followed(engine))
    assert parts == [10, 20, 30, 40, 50, 60, 60]


def test_of_a_locked_account_new_events_are_followed_once_it_is_unlocked(
    sale: Sale, engine: Engine
) -> None:
    sale.webhook(URL, event=None)
    (before, new) = followed(engine), sale.other()
    accounts.lock(engine, sale.owner)
    for events in (None, [new.event]):
        store.follow_new_events(engine, events)
        assert followed(engine) == before
    accounts.unlock(engine, sale.owner)
    store.follow_new_events(engine, None)
    assert followed(engine) == before + 1


def test_a_webhook_that_is_deleted_meanwhile_follows_nothing(sale: Sale, engine: Engine) -> None:
    deleted, other = sale.webhook(URL, event=None), sale.webhook(URL, event=None)
    sale.other()
    before = followed(engine) // 2
    with ThreadPoolExecutor(1) as sender:
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM webhooks WHERE id = :id"), {"id": deleted.id})
            following = sender.submit(store.follow_new_events, engine, None)
            until_sessions_wait(engine)
        following.result()
    found = rows(engine, "SELECT webhook_id FROM webhook_cursors")
    assert found == [(other.id,)] * (before + 1)


def test_slow_webhooks_have_the_room_of_those_that_fail(sale: Sale, engine: Engine) -> None:
    slow, fast = sale.webhook(URL).id, sale.webhook(URL).id
    sale.sell()

    def claimed(*, failing: bool) -> list[int]:
        found = store.claim(
            engine, None, {}, slow=[slow], failing=failing, limit=9, lease_seconds=LEASE_SECONDS
        )
        return [each.webhook_id for each in found]

    assert (claimed(failing=False), claimed(failing=True)) == ([fast], [slow])


def test_webhooks_that_are_disabled_or_gone_are_not_among_the_enabled(
    sale: Sale, engine: Engine
) -> None:
    disabled, enabled, other = sale.webhook(URL), sale.webhook(URL), sale.webhook(URL)
    sale.change(disabled, enabled=False)
    asked = [disabled.id, enabled.id, other.id + 1_000]
    assert store.enabled_among(engine, asked) == {enabled.id}
    assert store.enabled_among(engine, []) == set()


def test_of_many_only_what_is_still_its_own_is_sent_and_moved(
    sale: Sale, settings: Settings, engine: Engine
) -> None:
    webhooks = [sale.webhook(URL) for _ in range(4)]
    begun = sale.last
    last = sale.sell()
    mine = claim(engine)
    lost = Claim(mine[0].webhook_id, mine[0].event_id, mine[0].turn - 1)
    gateway.change(
        engine, sale.owner, webhooks[1].id, {"enabled": False}, settings.webhook_lease_seconds
    )
    found = prepare(engine, [lost, *mine[1:]])
    assert [each.claim for each in found.deliveries] == mine[2:]
    tamper(
        engine,
        f"UPDATE webhook_cursors SET sending_id = NULL, sending_to = NULL, number = 0"
        f" WHERE webhook_id = {webhooks[2].id}",
    )  # it was rewound
    store.received(engine, [Attempt(each, OK, LEASE_SECONDS) for each in found.deliveries])
    assert numbers(engine) == [begun, begun, 0, last]


def test_what_a_clock_that_was_ahead_put_off_is_sent_after_a_lease(
    sale: Sale, engine: Engine
) -> None:
    claimed, failing, failed_ahead, retried_ahead = (sale.webhook(URL) for _ in range(4))
    sale.sell()
    prepare(engine, claim(engine))
    run(engine, "UPDATE webhook_cursors SET next_at = now() + interval '1 day'")
    for webhook, since, next_at in (
        (failing, "0", "1 day"),
        (failed_ahead, "1 hour", "2 hours"),
        (retried_ahead, "-1 hour", "40 days"),
    ):
        run(
            engine,
            "UPDATE webhook_cursors SET failures = 1, failing_since = now() + :since ::interval,"
            " next_at = now() + :next_at ::interval WHERE webhook_id = :id",
            id=webhook.id,
            since=since,
            next_at=next_at,
        )
    clean(engine)
    assert claim(engine) == []  # a request may be under way
    within = (
        "SELECT webhook_id FROM webhook_cursors WHERE next_at <= now() + :lease * '1 s'::interval"
        " ORDER BY webhook_id"
    )
    put_off = [(webhook.id,) for webhook in (claimed, failed_ahead, retried_ahead)]
    assert rows(engine, within, lease=LEASE_SECONDS) == put_off
    assert rows(engine, "SELECT FROM webhook_cursors WHERE failing_since > now()") == []


def test_an_event_that_its_new_owner_deletes_is_sent_to_nobody_else(
    sale: Sale, engine: Engine
) -> None:
    new = add_user(engine)
    sale.webhook(URL)
    run(engine, "UPDATE events SET owner_id = :new WHERE id = :id", new=new, id=sale.event)
    webhook = replace(sale, owner=new).webhook(URL)
    with Session(engine) as session, session.begin():
        set_audit_user(session, new)
        session.execute(delete(Event).where(Event.id == sale.event))
    assert [each.webhook_id for each in claim(engine)] == [webhook.id]


@pytest.mark.parametrize("lost", ["transferred", "entries", "ledger"])
def test_a_failure_of_what_cannot_be_sent_any_more_ends(
    sale: Sale, engine: Engine, lost: str
) -> None:
    other = sale.other()
    webhook = sale.webhook(URL, event=None)
    sale.sell()
    (delivery,) = prepare(engine, claim(engine)).deliveries
    store.failed(engine, [Attempt(delivery, Outcome(1, 500, "status"), 0)])
    other.sell()
    clean(engine)
    assert claim(engine) == []  # it can be sent: its failure stays
    if lost == "transferred":
        run(
            engine,
            "UPDATE events SET owner_id = :new WHERE id = :id",
            new=add_user(engine),
            id=sale.event,
        )
    elif lost == "entries":
        tamper(engine, f"UPDATE lanes SET number = number - 1 WHERE event_id = {sale.event}")
    else:
        tamper(engine, f"DELETE FROM lanes WHERE event_id = {sale.event}")
    clean(engine)
    assert [each.event_id for each in claim(engine)] == [other.event]
    assert sale.read(webhook).failing_since is None


@pytest.mark.parametrize("paused", ["locked", "no_sender"])
def test_only_time_in_which_it_could_be_tried_counts_as_failing(
    sale: Sale, engine: Engine, paused: str
) -> None:
    sale.webhook(URL)
    sale.sell()
    (delivery,) = prepare(engine, claim(engine)).deliveries
    store.failed(engine, [Attempt(delivery, Outcome(1, 500, "status"), 60)])
    if paused == "locked":
        accounts.lock(engine, sale.owner)
    four_days_pass = (
        "UPDATE webhook_cursors SET failing_since = failing_since - interval '4 days',"
        " next_at = next_at - interval '4 days'"
    )
    run(engine, four_days_pass)
    if paused == "locked":
        assert claim_failing(engine) == []
        accounts.unlock(engine, sale.owner)
    (again,) = prepare(engine, claim_failing(engine)).deliveries
    assert again.failures == 1
    assert 60 <= again.failing_seconds < 90


def claim_failing(engine: Engine) -> list[Claim]:
    return store.claim(engine, None, {}, failing=True, limit=100, lease_seconds=LEASE_SECONDS)


def test_who_has_changed_its_url_is_not_disabled_for_what_the_former_one_answered(
    sale: Sale, settings: Settings, engine: Engine
) -> None:
    webhook = sale.webhook(URL)
    sale.sell()
    (delivery,) = prepare(engine, claim(engine)).deliveries

    def fail() -> bool:
        return store.disable(engine, Attempt(delivery, Outcome(1, 410, "gone"), 0), "gone")

    with ThreadPoolExecutor(1) as sender:
        with engine.begin() as connection:
            locked = "SELECT FROM webhooks WHERE id = :id FOR NO KEY UPDATE"
            connection.execute(text(locked), {"id": webhook.id})
            failing = sender.submit(fail)
            until_sessions_wait(engine)
            wanted = {"webhook": webhook.id, "lease": settings.webhook_lease_seconds}
            connection.execute(gateway.RETRY_NOW, wanted)
        assert not failing.result()
    assert sale.read(webhook).enabled
    assert sale.change(webhook, url=f"{URL}new").enabled
    assert not fail()
    assert sale.read(webhook).enabled
    assert [each.failure for each in sale.attempts(webhook)] == ["gone"] * 2


def test_many_failures_lock_their_webhooks_in_order(sale: Sale, engine: Engine) -> None:
    first, second = sale.webhook(URL).id, sale.webhook(URL).id
    sale.sell()
    claims = claim(engine)
    found = sorted(prepare(engine, claims).deliveries, key=lambda each: each.claim, reverse=True)
    attempts = [Attempt(each, Outcome(1, 500, "status"), 60) for each in found]
    lock = "SELECT id FROM webhooks WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED"
    with ThreadPoolExecutor(1) as sender:
        with engine.begin() as connection:
            connection.execute(text(lock), {"ids": [second]})
            failing = sender.submit(store.failed, engine, attempts)
            until_sessions_wait(engine)
            assert rows(engine, lock, ids=[first, second]) == []
        failing.result()
    assert rows(engine, "SELECT failures FROM webhook_cursors") == [(1,), (1,)]


def test_a_failure_that_is_noted_again_counts_once(sale: Sale, engine: Engine) -> None:
    """The answer to its COMMIT was lost."""
    sale.webhook(URL)
    sale.sell()
    (delivery,) = prepare(engine, claim(engine)).deliveries
    for _ in range(2):
        store.failed(engine, [Attempt(delivery, Outcome(1, 500, "status"), 60)])
    assert rows(engine, "SELECT failures FROM webhook_cursors") == [(1,)]


@pytest.mark.parametrize("missing", ["l.number - 1", "l.number"])
def test_a_ledger_that_is_broken_holds_up_no_other(
    sale: Sale, engine: Engine, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    other = sale.other()
    sale.webhook(URL, event=None)
    sale.sell(3)
    other.sell()
    tamper(
        engine,
        "DELETE FROM ledger e USING lanes l"
        f" WHERE l.event_id = {sale.event} AND e.event_id = l.event_id AND e.number = {missing}",
    )
    found = prepare(engine, claim(engine))
    assert [each.claim.event_id for each in found.deliveries] == [other.event]
    assert "webhook_delivery_broken" in "".join(capsys.readouterr())
