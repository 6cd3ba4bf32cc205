"""Holds over a real PostgreSQL, beside a model, in any order and with time moved by hand."""

from collections.abc import Sequence

import msgspec
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import Engine

from purchase_worker.decision import Buy, Cancel, Command, Confirm, Expire, Extend, Release
from shared.config.settings import Settings
from shared.purchases import StoredLine
from tests.integration.purchase_worker.test_holds import Sale
from tests.support.factories import add_ticket_type, add_user, queue_buy, queue_resolution, rows
from tests.support.holds_machine import STEP_SECONDS, TICKETS, HoldsMachine, Outcome


class Database:
    """Ticket types and purchases by the model's numbers for them."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.sale = Sale(engine, settings)
        event = self.sale.event
        self.types = {id_: add_ticket_type(engine, n, event_id=event) for id_, n in TICKETS.items()}
        self.sale.seen += len(TICKETS)
        self.users = [add_user(engine) for _ in range(3)]
        self.ids: dict[str, str] = {}

    def decide(self, commands: Sequence[Command]) -> list[Outcome]:
        for command in commands:
            self._queue(command)
        return self.sale.decide()

    def _queue(self, command: Command) -> None:
        engine = self.sale.engine
        match command:
            case Buy():
                self.ids[command.id] = queue_buy(
                    engine,
                    [(self.types[line.ticket_type_id], line.quantity) for line in command.lines],
                    hold_seconds=command.hold_seconds,
                    user_id=self.users[command.user_id],
                    event_limit=command.event_limit,
                )
            case Extend():
                queue_resolution(
                    engine, "extend", next(iter(self.ids.values())), seconds=command.seconds
                )
            case Cancel():
                lines = [
                    StoredLine(self.types[line.ticket_type_id], line.quantity)
                    for line in command.lines
                ]
                items = msgspec.json.encode(lines).decode()
                queue_resolution(
                    engine,
                    "cancel",
                    self.ids[command.purchase_id],
                    items=items,
                    restock=command.restock,
                )
            case Confirm() | Release() | Expire():
                id_ = self.ids[command.purchase_id]
                kind = type(command).__name__.lower()
                columns = (
                    {"payment_reference": f"{self.sale.event} {command.payment_reference}"}
                    if isinstance(command, Confirm)
                    else {}
                )
                queue_resolution(engine, kind, id_, **columns)

    def pass_time(self, steps: int) -> None:
        self.sale.let_time_pass(steps * STEP_SECONDS)

    def counts(self) -> dict[int, tuple[int, int]]:
        found = {
            id_: (left, held)
            for id_, left, held in rows(
                self.sale.engine,
                "SELECT ticket_type_id, issued - held - sold, held FROM counters"
                " WHERE event_id = :id",
                id=self.sale.event,
            )
        }
        return {id_: found[stored] for id_, stored in self.types.items()}

    def holds(self) -> set[str]:
        found = rows(
            self.sale.engine,
            "SELECT purchase_id::text FROM holds WHERE event_id = :id",
            id=self.sale.event,
        )
        return {id_ for id_, stored in self.ids.items() if (stored,) in found}


def test_whatever_comes_in_any_order_the_database_agrees_with_the_model(
    engine: Engine, settings: Settings
) -> None:
    class DatabaseMachine(HoldsMachine):
        def __init__(self) -> None:
            super().__init__(Database(engine, settings))

    run_state_machine_as_test(
        DatabaseMachine,
        settings=hypothesis_settings(
            max_examples=15,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
