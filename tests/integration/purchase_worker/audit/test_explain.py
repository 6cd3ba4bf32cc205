"""`eventify explain`: why a purchase was confirmed or rejected, from the rows of a real sale."""

import json
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, text
from uuid_utils import uuid7

from deploy.cli.main import main
from purchase_worker.audit.explain import explanation, read_facts
from purchase_worker.decision import EXTENDED_MAX_SECONDS
from purchase_worker.drain import drain
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.database.rights import READER, WORKER
from tests.support.factories import (
    add_ticket_type,
    add_user,
    cart,
    event_of,
    ignore,
    issue,
    queue,
    queue_buy,
    queue_resolution,
    request,
    run,
    scalar,
    tamper,
)


def explain(engine: Engine, id_: str) -> str:
    facts = read_facts(engine, UUID(id_))
    assert facts is not None
    return "\n".join(explanation(facts))


def test_a_confirmed_purchase(engine: Engine, settings: Settings) -> None:
    ticket_type = add_ticket_type(engine, 10)
    first, id_ = queue(engine, [request(add_user(engine), ticket_type, n) for n in (3, 2)])
    drain(engine, [event_of(engine, ticket_type)], settings, ignore)
    username = scalar(
        engine,
        "SELECT username FROM users u JOIN requests r ON r.user_id = u.id WHERE r.id = :id",
        id=id_,
    )
    shown = explain(engine, id_)
    assert f"Purchase {id_}: confirmed.\n" in shown
    assert f"({username}) requested 2 tickets of ticket type {ticket_type} (Standing)" in shown
    assert "(Concert)" in shown
    assert "25.00 each, 50.00 EUR in total; no limit per user." in shown
    assert "as request 2 of this event (1 before it)." in shown
    assert "as entry 3 of this event's ledger (2 before it)." in shown
    assert "7 tickets left before the decision, 5 after it." in shown
    assert "in the batch of entries 2 to 3." in shown
    assert '"test" (its X-Request-ID)' in shown
    assert "[2, 3] in `numbers`" in shown
    decided_by = scalar(engine, "SELECT decided_by FROM batches WHERE first_number = 2")
    assert f"Decided by process {decided_by} " in shown
    assert "10 tickets left before the decision, 7 after it." in explain(engine, first)


@pytest.mark.parametrize("already_sold_out", [False, True])
def test_not_enough_tickets(engine: Engine, settings: Settings, already_sold_out: bool) -> None:
    ticket_type = add_ticket_type(engine, 4)
    queue(engine, [request(add_user(engine), ticket_type, 3)])
    late = request(add_user(engine), ticket_type, 2)
    (id_,) = queue(engine, [late])
    if already_sold_out:  # the queue is then closed by SQL, and not by the rule
        issue(engine, ticket_type, -1)
        one_by_one = settings.model_copy(update={"drain_batch_rows": 1})
        drain(engine, [event_of(engine, ticket_type)], one_by_one, ignore)
    else:
        drain(engine, [event_of(engine, ticket_type)], settings, ignore)
    left = 0 if already_sold_out else 1
    shown = explain(engine, id_)
    assert "rejected (not_enough_tickets)." in shown
    assert f"because it requested 2 tickets with {left} left" in shown
    assert f"as entry {4 if already_sold_out else 3} of this event" in shown


def test_over_the_limit_that_was_frozen_at_acceptance(engine: Engine, settings: Settings) -> None:
    ticket_type, user = add_ticket_type(engine, 10, max_per_user=4), add_user(engine)
    queue(engine, [request(user, ticket_type, 3), request(add_user(engine), ticket_type, 2)])
    drain(engine, [event_of(engine, ticket_type)], settings, ignore)
    (id_,) = queue(engine, [request(user, ticket_type, 2)])
    run(engine, "UPDATE ticket_types SET max_per_user = 9, price = 99, name = 'Stalls'")
    drain(engine, [event_of(engine, ticket_type)], settings, ignore)
    shown = explain(engine, id_)
    assert "rejected (over_user_limit)." in shown
    assert "25.00 each, 50.00 EUR in total; 4 per user." in shown
    assert "3 bought before and 2 requested make 5, more than 4 per user." in shown
    assert "(Stalls)" in shown
    assert "in the batch of entries 4 to 4." in shown


def test_a_queued_purchase_of_a_paused_sale(engine: Engine) -> None:
    ticket_type = add_ticket_type(engine, 10)
    _, id_ = queue(engine, [request(add_user(engine), ticket_type, n) for n in (3, 2)])
    run(engine, "UPDATE ticket_types SET paused_at = now()")
    shown = explain(engine, id_)
    assert f"Purchase {id_}: queued." in shown
    assert "requests ahead of it in the queue: 1." in shown
    assert "10 tickets left now." in shown
    assert "The sale is paused since" in shown
    assert "Nothing of this event has been decided yet." in shown
    assert "No worker and no sweeper is connected to the database: start one." in shown


def test_what_explains_a_wait(engine: Engine, settings: Settings) -> None:
    ticket_type = add_ticket_type(engine, 10)
    _, id_ = queue(engine, [request(add_user(engine), ticket_type) for _ in range(2)])
    sweeper = open_engine(settings, "sweeper")
    with sweeper.connect() as connected:
        connected.execute(text("SELECT 1"))
        assert "This is a usual wait" in explain(engine, id_)
        tamper(engine, "UPDATE requests SET created_at = now() - interval '1 hour'")
        shown = explain(engine, id_)
        assert "Queued for 3600." in shown
        assert (
            "The queue is not moving. Another session may hold the lock of the event's lane"
            in shown
        )
        one = settings.model_copy(update={"drain_batch_rows": 1, "drain_max_batches": 1})
        drain(engine, [event_of(engine, ticket_type)], one, ignore)
        assert "The queue is moving" in explain(engine, id_)
    sweeper.dispose()


def test_rows_that_lack_what_newer_ones_have(engine: Engine, settings: Settings) -> None:
    ticket_type = add_ticket_type(engine, 10)
    (id_,) = queue(engine, [request(add_user(engine), ticket_type)])
    drain(engine, [event_of(engine, ticket_type)], settings, ignore)
    tamper(engine, "UPDATE requests SET request_id = NULL", "DELETE FROM batches")
    shown = explain(engine, id_)
    assert "No batch is recorded for this decision" in shown
    assert shown.endswith("search for nothing by request id: the row has none.")


def test_a_cart(engine: Engine, settings: Settings) -> None:
    standing, buyer = add_ticket_type(engine, 9, max_per_user=4), add_user(engine)
    event = event_of(engine, standing)
    seat = add_ticket_type(engine, 3, event_id=event, name="Seat", price=Decimal(40))
    run(engine, f"UPDATE events SET max_per_user = 6 WHERE id = {event}")
    carts = [(2, 1), (1, 3), (3, 1), (2, 2)]
    bought, short, over, over_all = queue(
        engine, [cart(buyer, [(standing, n), (seat, m)]) for n, m in carts]
    )
    (queued,) = queue(engine, [cart(buyer, [(seat, 1), (standing, 1)])])
    four = settings.model_copy(update={"drain_batch_rows": 4, "drain_max_batches": 1})
    drain(engine, [event], four, ignore)

    shown = explain(engine, bought)
    assert (
        f"requested 2 tickets of ticket type {standing} (Standing) and 1 ticket of ticket type"
        f" {seat} (Seat), event {event} (Concert)."
    ) in shown
    assert f"Terms at acceptance of ticket type {seat}: 40.00 each, 40.00 EUR in total;" in shown
    assert "Of all ticket types of the event together: 6 per user." in shown
    assert f"9 tickets of ticket type {standing} left before the decision, 7 after it." in shown
    assert f"3 tickets of ticket type {seat} left before the decision, 2 after it." in shown

    shown = explain(engine, short)
    assert f"because it requested 3 tickets of ticket type {seat} with 2 left;" in shown
    assert f"7 tickets of ticket type {standing} left before the decision, 7 after it." in shown
    assert "The buyer had 3 tickets of all types of this event before the decision." in shown
    shown = explain(engine, over)
    assert (
        f"2 bought before and 3 requested make 5 of ticket type {standing}, more than 4 per user"
        in shown
    )
    shown = explain(engine, over_all)
    assert (
        "3 bought before and 4 requested make 7 of all ticket types of this event, more than 6"
    ) in shown
    shown = explain(engine, queued)
    assert f"2 tickets of ticket type {seat} left now." in shown
    assert f"The buyer has 2 tickets of ticket type {standing}." in shown


def test_what_became_of_a_hold(engine: Engine, settings: Settings) -> None:
    adult, shop = add_ticket_type(engine, 4), add_user(engine)
    event = event_of(engine, adult)
    terms = {"hold_seconds": 600, "user_id": shop, "buyer": "anna", "event_limit": 4}
    paid, released = (queue_buy(engine, [(adult, 2)], **terms) for _ in range(2))
    short = queue_buy(engine, [(adult, 3)])
    drain(engine, [event], settings, ignore)
    shown = explain(engine, paid)
    assert f"Purchase {paid}: held.\nHeld: enough tickets were left" in shown
    assert ", for buyer anna, requested 2 tickets" in shown
    assert "Held for its payment for 600 s from its decision." in shown
    assert "It is held until " in shown
    assert "rejected (all_held)" in explain(engine, short)
    assert "with 0 left and enough others held for their payment;" in explain(engine, short)

    queue_resolution(engine, "confirm", paid, payment_reference="pi_1")
    queue_resolution(engine, "release", released)
    again = queue_buy(engine, [(adult, 1)], **terms)
    drain(engine, [event], settings, ignore)
    assert f"Purchase {paid}: confirmed." in explain(engine, paid)
    owner = scalar(engine, "SELECT owner_id FROM events WHERE id = :id", id=event)
    assert (
        "it was paid with payment pi_1, as entry 5 of this event's ledger."
        f" User {owner} requested it."
    ) in explain(engine, paid)
    assert f"Purchase {released}: released." in explain(engine, released)
    assert "it was released, as entry 6 of" in explain(engine, released)
    assert "The buyer had 2 tickets of all types of this event before the" in explain(engine, again)

    one = json.dumps([{"ticket_type": adult, "quantity": 1}])
    for status in ("confirmed, 1 of its tickets cancelled", "cancelled"):
        queue_resolution(engine, "cancel", paid, items=one, restock=True)
        drain(engine, [event], settings, ignore)
        shown = explain(engine, paid)
        assert f"Purchase {paid}: {status}." in shown
        assert "1 ticket of it was cancelled, and put back on sale, as entry" in shown


def test_an_extended_hold_and_a_part_of_a_cart_that_was_cancelled(
    engine: Engine, settings: Settings
) -> None:
    adult = add_ticket_type(engine, 4)
    event = event_of(engine, adult)
    child = add_ticket_type(engine, 4, event_id=event)
    cart = queue_buy(engine, [(adult, 2), (child, 1)], hold_seconds=600)
    drain(engine, [event], settings, ignore)
    for seconds in (900, 60):
        queue_resolution(engine, "extend", cart, seconds=seconds)
        drain(engine, [event], settings, ignore)
        if seconds == 900:
            assert "all open holds of the event got 900 s more, as entry 4 of" in explain(
                engine, cart
            )
            queue_resolution(engine, "confirm", cart, payment_reference="pi_1")
    assert "60 s more" not in explain(engine, cart), "it was paid before"
    one = json.dumps([{"ticket_type": child, "quantity": 1}])
    queue_resolution(engine, "cancel", cart, items=one, restock=False)
    drain(engine, [event], settings, ignore)
    shown = explain(engine, cart)
    assert f"Purchase {cart}: confirmed, 1 of its tickets cancelled." in shown
    assert f"1 ticket of ticket type {child} was cancelled, and taken off sale" in shown


def test_extensions_that_were_refused_and_of_a_former_owner(
    engine: Engine, settings: Settings
) -> None:
    adult = add_ticket_type(engine, 2)
    event = event_of(engine, adult)
    held = queue_buy(engine, [(adult, 2)], hold_seconds=600)
    rejected = queue_buy(engine, [(adult, 1)], hold_seconds=600)
    drain(engine, [event], settings, ignore)
    former, new = scalar(engine, "SELECT owner_id FROM events"), add_user(engine)
    queue_resolution(engine, "extend", held, seconds=900)
    drain(engine, [event], settings, ignore)
    run(engine, f"UPDATE events SET owner_id = {new}")
    for seconds in (60, EXTENDED_MAX_SECONDS):
        queue_resolution(engine, "extend", held, seconds=seconds)
        drain(engine, [event], settings, ignore)
    shown = explain(engine, held)
    assert f"Purchase {held}: held." in shown
    assert f"got 900 s more, as entry 4 of this event's ledger. User {former} req" in shown
    assert f"got 60 s more, as entry 5 of this event's ledger. User {new} requested it" in shown
    assert shown.count("all open holds of the event") == 2
    assert f"{EXTENDED_MAX_SECONDS:,}" not in shown
    assert "all open holds" not in explain(engine, rejected), "it never had one"


@pytest.mark.parametrize(("role", "sees_name"), [(READER, True), (WORKER, False)])
def test_rights_to_read_are_enough(
    engine: Engine, settings: Settings, role: str, sees_name: bool
) -> None:
    ticket_type = add_ticket_type(engine, 10)
    (id_,) = queue(engine, [request(add_user(engine), ticket_type)])
    reading = open_engine(settings, "operator", role=role)
    facts = read_facts(reading, UUID(id_))
    reading.dispose()
    assert facts is not None
    assert (facts.username is not None) == sees_name
    assert f"User {facts.user_id}" in explanation(facts)[2]


def test_the_command(engine: Engine, settings: Settings, tmp_path: Path) -> None:
    ticket_type = add_ticket_type(engine, 1)
    (id_,) = queue(engine, [request(add_user(engine), ticket_type, 2)])
    drain(engine, [event_of(engine, ticket_type)], settings, ignore)
    operator = CliRunner(
        env={
            "EVENTIFY_DATABASE_URL": settings.database_url,
            "EVENTIFY_HOME": str(tmp_path),
            "EVENTIFY_KEYS_DIR": str(tmp_path),
        }
    )

    def command(*arguments: str) -> tuple[int, str]:
        result = operator.invoke(main, ["explain", *arguments])
        return result.exit_code, result.output

    assert command(id_) == (0, explain(engine, id_) + "\n")
    exit_code, output = command("--json", id_)
    fields = json.loads(output)
    assert (exit_code, fields["reason"]) == (0, "not_enough_tickets")
    assert (fields["status"], fields["decision"]) == ("rejected", "rejected")
    assert [(line["quantity"], line["left_after"]) for line in fields["lines"]] == [(2, 1)]
    assert fields["explanation"] == explain(engine, id_).splitlines()
    unknown = str(uuid7())
    exit_code, output = command(unknown)
    assert exit_code == 1
    assert f"There is no purchase {unknown}." in output
    exit_code, output = command("17")
    assert exit_code == 2
    assert "'17' is not a valid UUID." in output
    assert "`eventify user show NAME`" in output
