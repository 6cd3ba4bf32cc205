"""Commands about purchases over a real PostgreSQL: stored once, and answered from the ledger."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from itertools import count
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from gateway.purchases import read
from gateway.purchases.service import PurchaseService
from gateway.purchases.waiting import WaitLimit
from gateway.resolutions import rules, store
from gateway.resolutions.rules import Accepted, Command, Kind, NothingToDo
from gateway.resolutions.schemas import PurchaseConfirm, parse
from gateway.resolutions.service import Resolutions
from gateway.resolutions.store import Question
from purchase_worker.drain import Batch, drain
from purchase_worker.publish.results import ResultPublisher
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.errors import (
    NotDecided,
    PaymentReferenceUsed,
    ServerError,
    TooManyCancellations,
    Unavailable,
)
from shared.purchases import StoredLine
from tests.support.factories import (
    add_event,
    add_ticket_type,
    add_user,
    cart,
    ignore,
    queue,
    request,
    rows,
    run,
    scalar,
)
from tests.support.plans import flush_statistics, rows_read

NO_REDIS = {"redis_url": "redis://127.0.0.1:1/0", "wait_recheck_seconds": 0.05}
_ids = count(1)


class Sale:
    """An event that sells adults' tickets for 25.00, held, and children's for 12.50."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings
        self.owner, self.buyer = add_user(engine), add_user(engine)
        self.event = add_event(engine, self.owner)
        self.adult = add_ticket_type(engine, 500, event_id=self.event, hold_seconds=600)
        self.child = add_ticket_type(
            engine, 500, event_id=self.event, price=Decimal("12.50"), max_per_purchase=500
        )

    def decide(self, publish: Callable[[Batch], None] = ignore) -> None:
        drain(self.engine, [self.event], self.settings, publish)

    def hold(self, how_many: int = 1) -> list[str]:
        wanted = [cart(self.buyer, [(self.adult, 2), (self.child, 1)]) for _ in range(how_many)]
        ids = queue(self.engine, wanted)
        self.decide()
        return ids

    def command(self, kind: Kind, purchase_id: str | None = None, **fields: Any) -> Command:
        terms: dict[Kind, dict[str, Any]] = {
            "confirm": {"payment_reference": "pi", "amount": Decimal("62.50"), "currency": "EUR"},
            "release": {},
            "cancel": {"restock": True, "idempotency_key": str(next(_ids))},
            "extend": {"seconds": 60, "event_id": self.event},
        }
        named = {
            "id": f"00000000-0000-7000-8000-{next(_ids):012}",
            "kind": kind,
            "user_id": self.owner,
            "request_id": "test",
            "purchase_id": purchase_id,
        }
        return Command(**(named | terms[kind] | fields))

    def accept(self, *commands: Command) -> list[store.Verdict]:
        return store.accept(self.engine, commands)

    def commands(self, kind: Kind) -> int:
        number: int = scalar(
            self.engine,
            "SELECT count(*) FROM requests WHERE kind = CAST(:kind AS request_kind)",
            kind=kind,
        )
        return number


@pytest.fixture
def sale(engine: Engine, settings: Settings) -> Sale:
    return Sale(engine, settings)


def test_a_batch_of_all_kinds_is_stored_in_its_order_and_each_refusal_leaves_the_others_alone(
    sale: Sale,
) -> None:
    paid, released, late = sale.hold(3)
    (plain,) = queue(sale.engine, [request(sale.buyer, sale.child, 2)])
    sale.decide()
    (waiting,) = queue(sale.engine, [request(sale.buyer, sale.child)])
    note = 'a "quoted" \\ note, {with} commas'
    commands = [
        sale.command("confirm", paid),
        sale.command("confirm", waiting, amount=Decimal("12.50")),
        sale.command("release", released, user_id=sale.buyer),
        sale.command("cancel", plain, note=note, restock=False),
        sale.command("confirm", late),
        sale.command("extend"),
    ]
    verdicts = sale.accept(*commands)
    assert [type(verdict) for verdict in verdicts] == [
        Accepted,
        NotDecided,
        Accepted,
        Accepted,
        PaymentReferenceUsed,
        Accepted,
    ]
    stored = rows(
        sale.engine,
        "SELECT id::text, restock, note, hold_seconds FROM requests"
        " WHERE kind NOT IN ('buy', 'issue') ORDER BY seq",
    )
    assert stored == [
        (commands[0].id, None, None, None),
        (commands[2].id, None, None, None),
        (commands[3].id, False, note, None),
        (commands[5].id, None, None, 60),
    ]
    sale.decide()
    answers = store.answers(sale.engine, [Question(command_id=row[0]) for row in stored])
    outcomes = [answer.outcome for answer in answers if isinstance(answer, store.Answer)]
    assert outcomes == ["confirmed", "released", "cancelled", "extended"]
    assert isinstance(answers[3], store.Answer)
    assert answers[3].held == 1


def test_answers_count_the_open_holds_once_for_each_event(sale: Sale) -> None:
    other = Sale(sale.engine, sale.settings)
    for each, holds in ((sale, 30), (other, 3)):
        each.hold(holds)
    extensions = [each.command("extend") for each in (sale, other) for _ in range(5)]
    sale.accept(*extensions)
    sale.decide()
    other.decide()

    def rows_read() -> int:
        flush_statistics(sale.engine)
        number: int = scalar(
            sale.engine,
            "SELECT t.seq_tup_read + sum(i.idx_tup_read)::bigint FROM pg_stat_user_tables t"
            " JOIN pg_stat_user_indexes i USING (relid) WHERE t.relname = 'holds' GROUP BY t.relid,"
            " t.seq_tup_read",
        )
        return number

    before = rows_read()
    answers = store.answers(sale.engine, [Question(command_id=each.id) for each in extensions])
    numbers = [answer.held for answer in answers if isinstance(answer, store.Answer)]
    assert numbers == [30] * 5 + [3] * 5
    # Twice, if a whole small table is read for each event.
    assert 0 < rows_read() - before <= 2 * 33


def test_of_two_purchases_that_one_payment_is_to_confirm_at_the_same_moment_one_is(
    sale: Sale,
) -> None:
    """Neither sees the other's confirmation when it looks."""
    pairs = [sale.hold(2) for _ in range(20)]
    for number, pair in enumerate(pairs):
        together = Barrier(2)

        def confirm(
            purchase_id: str, number: int = number, together: Barrier = together
        ) -> store.Verdict:
            asked = sale.command("confirm", purchase_id, payment_reference=f"pi_{number}")
            together.wait()
            return sale.accept(asked)[0]

        with ThreadPoolExecutor(2) as pool:
            verdicts = list(pool.map(confirm, pair))
        assert sorted(type(verdict).__name__ for verdict in verdicts) == [
            "Accepted",
            "PaymentReferenceUsed",
        ]
    assert sale.commands("confirm") == len(pairs)


def test_of_one_batch_too_one_payment_confirms_one_purchase(
    sale: Sale, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it costs the other commands of the batch no statement of their own."""
    first, second, third = sale.hold(3)
    statement, attempts = store.statement, []

    def counted(engine: Engine) -> Any:
        attempts.append(1)
        return statement(engine)

    monkeypatch.setattr(store, "statement", counted)
    commands = [
        sale.command("confirm", first),
        sale.command("confirm", second),
        sale.command("confirm", third, payment_reference="pi_3"),
        sale.command("confirm", first),
        *(sale.command("extend") for _ in range(20)),
    ]
    paid, refused, others, again, *extended = sale.accept(*commands)
    assert len(attempts) == 2
    assert isinstance(refused, PaymentReferenceUsed)
    assert again == Accepted(commands[0].id, sale.event)
    assert all(isinstance(verdict, Accepted) for verdict in (paid, others, *extended))
    assert (sale.commands("confirm"), sale.commands("extend")) == (2, 20)


def test_one_bad_command_costs_a_large_batch_few_statements(
    sale: Sale, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No client can cause this.
    run(sale.engine, "ALTER TABLE requests ADD CONSTRAINT no_61 CHECK (hold_seconds <> 61)")
    commands = [sale.command("extend", seconds=61 if nth == 20 else 60) for nth in range(32)]
    statement, attempts = store.statement, []

    def counted(engine: Engine) -> Any:
        attempts.append(1)
        return statement(engine)

    monkeypatch.setattr(store, "statement", counted)
    verdicts = sale.accept(*commands)
    assert len(attempts) == 1 + 2 * 5
    assert isinstance(verdicts.pop(20), ServerError)
    assert all(isinstance(verdict, Accepted) for verdict in verdicts)
    stored = rows(sale.engine, "SELECT id::text FROM requests WHERE kind = 'extend' ORDER BY seq")
    assert [row[0] for row in stored] == [c.id for c in commands if c.seconds == 60]


def test_a_command_that_a_failover_lost_is_unavailable_and_no_other(sale: Sale) -> None:
    (held,) = sale.hold()
    stored, lost = sale.command("confirm", held), sale.command("extend")
    sale.accept(stored)
    asked = [Question(lost.id), Question(stored.id), Question(purchase_id=held)]
    unavailable, of_command, of_purchase = store.answers(sale.engine, asked)
    assert isinstance(unavailable, Unavailable)
    assert isinstance(of_command, store.Answer)
    assert isinstance(of_purchase, store.Answer)
    assert (of_command.kind, of_command.payment_reference) == ("confirm", "pi")
    assert of_command.purchase == of_purchase.purchase is not None


def test_a_reference_of_which_the_confirmation_was_refused_is_free_again(sale: Sale) -> None:
    first, second = sale.hold(2)
    released, late = sale.command("release", first), sale.command("confirm", first)
    sale.accept(released, late)
    assert isinstance(sale.accept(sale.command("confirm", second))[0], PaymentReferenceUsed)
    sale.decide()
    assert isinstance(sale.accept(sale.command("confirm", second))[0], Accepted)


def test_after_many_refused_confirmations_a_reference_confirms_nothing_more(sale: Sale) -> None:
    """Each reads all of them. Others of the same batch go on."""
    *released, late, other = sale.hold(rules.REFUSALS_MAX + 2)
    for purchase_id in released:
        kinds: tuple[Kind, ...] = ("release", "confirm")
        verdicts = sale.accept(*(sale.command(kind, purchase_id) for kind in kinds))
        assert all(isinstance(verdict, Accepted) for verdict in verdicts)
        sale.decide()
    refused, accepted = sale.accept(
        sale.command("confirm", late), sale.command("confirm", other, payment_reference="pi_2")
    )
    assert isinstance(refused, PaymentReferenceUsed)
    assert isinstance(accepted, Accepted)
    assert sale.commands("confirm") == rules.REFUSALS_MAX + 1


def test_one_key_is_one_command_however_many_try_at_once(sale: Sale) -> None:
    sale.hold()
    (plain,) = queue(sale.engine, [request(sale.buyer, sale.child, 100)])
    sale.decide()
    same = [sale.command("cancel", plain, idempotency_key="k") for _ in range(40)]
    with ThreadPoolExecutor(8) as pool:
        chunks = pool.map(lambda n: sale.accept(*same[n : n + 5]), range(0, 40, 5))
        verdicts = [verdict for chunk in chunks for verdict in chunk]
    assert all(isinstance(verdict, Accepted) for verdict in verdicts)
    assert len({verdict.id for verdict in verdicts if isinstance(verdict, Accepted)}) == 1
    assert sale.commands("cancel") == 1


def test_a_release_that_waits_is_joined_whoever_asks(sale: Sale) -> None:
    for held, asks in zip(sale.hold(2), (sale.buyer, sale.owner), strict=True):
        first = sale.command("release", held, user_id=asks)
        sale.accept(first)
        for user in (sale.buyer, sale.owner):
            (joined,) = sale.accept(sale.command("release", held, user_id=user))
            assert joined == Accepted(first.id, sale.event)
    (another,) = sale.hold()
    other = sale.command("release", another, user_id=sale.buyer)
    (stored,) = sale.accept(other)
    assert isinstance(stored, Accepted)
    assert stored.id == other.id
    sale.decide()
    assert isinstance(sale.accept(sale.command("release", another))[0], NothingToDo)


def test_the_largest_purchase_there_can_be_is_paid(sale: Sale) -> None:
    most: dict[str, Any] = {"price": Decimal("9999999999.99"), "max_per_purchase": 1_000_000}
    types = [
        add_ticket_type(sale.engine, 1_000_000, event_id=sale.event, hold_seconds=60, **most)
        for _ in range(10)
    ]
    (held,) = queue(sale.engine, [cart(sale.buyer, [(one, 1_000_000) for one in types])])
    sale.decide()
    total = read.read(sale.engine, [held], position_max_rows=1)[held].purchase.total_price
    assert total == "99999999999900000.00"
    body = f'{{"payment_reference": "pi", "amount": "{total}", "currency": "EUR"}}'.encode()
    confirm = sale.command("confirm", held, **parse(PurchaseConfirm, body).model_dump())
    (accepted,) = sale.accept(confirm)
    assert isinstance(accepted, Accepted)
    sale.decide()
    (answer,) = store.answers(sale.engine, [Question(command_id=confirm.id)])
    assert isinstance(answer, store.Answer)
    assert answer.outcome == "confirmed"


def test_of_two_cancellations_that_do_not_fit_together_one_is_refused(sale: Sale) -> None:
    (plain,) = queue(sale.engine, [request(sale.buyer, sale.child, 3)])
    sale.decide()
    # Both are of all that is left.
    asked = [sale.command("cancel", plain) for _ in range(2)]
    assert all(isinstance(verdict, Accepted) for verdict in sale.accept(*asked))
    sale.decide()
    answers = store.answers(sale.engine, [Question(command_id=c.id) for c in asked])
    reasons = [answer.reason for answer in answers if isinstance(answer, store.Answer)]
    assert reasons == [None, "already_cancelled"]


def test_after_many_cancellations_of_a_purchase_all_the_rest_is_cancelled_or_nothing(
    sale: Sale, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them reads all earlier ones. Others of the same batch go on."""
    monkeypatch.setattr(rules, "CANCELLED_ITEMS_MAX", 3)
    plain, other = queue(
        sale.engine, [request(sale.buyer, sale.child, quantity) for quantity in (9, 2)]
    )
    sale.decide()

    def cancel(purchase_id: str, quantity: int, **fields: Any) -> Command:
        lines = (StoredLine(sale.child, quantity),)
        return sale.command("cancel", purchase_id, lines=lines, **fields)

    first = cancel(plain, 1, idempotency_key="first")
    for command in (first, cancel(plain, 1), cancel(plain, 1)):
        assert isinstance(sale.accept(command)[0], Accepted)
        sale.decide()
    again = cancel(plain, 1, idempotency_key="first")
    verdicts = sale.accept(
        cancel(plain, 1), cancel(other, 1), sale.command("extend"), cancel(plain, 5), again
    )
    assert [type(verdict) for verdict in verdicts] == [
        TooManyCancellations,
        Accepted,
        Accepted,
        TooManyCancellations,
        Accepted,
    ]
    assert verdicts[-1] == Accepted(first.id, sale.event, replayed=True)
    rest = cancel(plain, 6)
    assert isinstance(sale.accept(rest)[0], Accepted)
    sale.decide()
    (answer,) = store.answers(sale.engine, [Question(command_id=rest.id)])
    assert isinstance(answer, store.Answer)
    assert answer.outcome == "cancelled"


def test_of_a_cancelled_cart_each_item_counts(sale: Sale, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "CANCELLED_ITEMS_MAX", 4)
    types = [sale.child, add_ticket_type(sale.engine, 9, event_id=sale.event)]
    (bought,) = queue(sale.engine, [cart(sale.buyer, [(id_, 4) for id_ in types])])
    sale.decide()
    both = tuple(StoredLine(id_, 1) for id_ in types)
    expected = [Accepted, Accepted, TooManyCancellations]
    for verdict in expected:
        assert isinstance(sale.accept(sale.command("cancel", bought, lines=both))[0], verdict)
        sale.decide()


def test_a_plain_purchase_is_read_as_if_there_were_no_holds(sale: Sale) -> None:
    """What it cannot have is not looked up; but a confirmed one may be cancelled."""

    def scans() -> dict[str, int]:
        flush_statistics(sale.engine)
        return dict(
            rows(
                sale.engine,
                "SELECT relname::text, idx_scan FROM pg_stat_user_tables"
                " WHERE relname IN ('ledger', 'holds', 'lanes')",
            )
        )

    def scans_of_a_read(purchase_id: str, status: str) -> dict[str, int]:
        before = scans()
        found = read.read(sale.engine, [purchase_id], position_max_rows=1)
        assert found[purchase_id].purchase.status == status
        after = scans()
        return {name: after[name] - before[name] for name in after}

    (plain, rejected) = queue(
        sale.engine, [request(sale.buyer, sale.child), request(sale.buyer, sale.child, 500)]
    )
    (held,) = sale.hold()
    assert scans_of_a_read(plain, "confirmed") == {"ledger": 2, "holds": 0, "lanes": 0}
    assert scans_of_a_read(rejected, "rejected") == {"ledger": 1, "holds": 0, "lanes": 0}
    assert scans_of_a_read(held, "held") == {"ledger": 2, "holds": 1, "lanes": 1}
    (queued,) = queue(sale.engine, [request(sale.buyer, sale.child)])
    assert scans_of_a_read(queued, "queued")["ledger"] == 1


def test_one_hold_is_found_among_many(engine: Engine, settings: Settings) -> None:
    """Also while PostgreSQL knows only events with one hold each."""
    for _ in range(30):
        Sale(engine, settings).hold()
    run(engine, "ANALYZE")
    sale = Sale(engine, settings)
    ids = sale.hold(240)
    before = rows_read(engine)
    assert read.read(engine, ids[:1], position_max_rows=1)[ids[0]].purchase.status == "held"
    (verdict,) = sale.accept(sale.command("confirm", ids[0]))
    assert isinstance(verdict, Accepted)
    sale.decide()
    assert rows_read(engine) - before < 200


# --- waiting ---


@pytest.fixture
async def resolutions(
    engine: Engine, settings: Settings, changes: dict[str, object]
) -> AsyncIterator[Resolutions]:
    changed = settings.model_copy(update=changes)
    purchases = PurchaseService(changed, engine)
    purchases.start()
    service = Resolutions(changed, engine, purchases.waiters, purchases.wakeups)
    yield service
    await service.stop()
    await purchases.stop()


def limit(seconds: float) -> WaitLimit:
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    return WaitLimit(seconds, lambda: never)


@pytest.mark.anyio
@pytest.mark.parametrize("changes", [{}, NO_REDIS], ids=["redis", "no redis"])
async def test_a_command_is_answered_at_its_decision_as_its_purchase_is_then_read(
    sale: Sale, resolutions: Resolutions, settings: Settings
) -> None:
    paid, released = await asyncio.to_thread(sale.hold, 2)
    pending = await resolutions.resolve(sale.command("confirm", paid), limit(0.1))
    assert pending.is_pending
    assert pending.purchase is not None
    assert pending.purchase.status == "held"
    asked = [sale.command("confirm", paid), sale.command("release", released)]
    answers = asyncio.gather(*(resolutions.resolve(command, limit(20)) for command in asked))

    def stored() -> bool:
        return sale.commands("release") == 1

    async with asyncio.timeout(20):
        while not await asyncio.to_thread(stored):
            await asyncio.sleep(0.01)
    await asyncio.to_thread(sale.decide, ResultPublisher(settings))
    purchases = [answer.purchase for answer in await answers]
    assert [p.status for p in purchases if p is not None] == ["confirmed", "released"]
    read_on = await asyncio.to_thread(read.read, sale.engine, [paid, released], position_max_rows=1)
    assert purchases == [read_on[paid].purchase, read_on[released].purchase]
    assert await asyncio.to_thread(sale.commands, "confirm") == 1


def test_without_the_database_each_command_is_unavailable(sale: Sale, settings: Settings) -> None:
    nowhere = make_url(settings.database_url).set(host="127.0.0.1", port=1, query={})
    address = nowhere.render_as_string(hide_password=False)
    engine = open_engine(settings.model_copy(update={"database_url": address}), "test")
    asked = [
        sale.command("extend"),
        sale.command("release", "0" * 8 + "-0000" * 3 + "-" + "0" * 12),
    ]
    verdicts = store.accept(engine, asked)
    answers = store.answers(engine, [Question(command_id=command.id) for command in asked])
    assert [type(answer) for answer in (*verdicts, *answers)] == [Unavailable] * 4
