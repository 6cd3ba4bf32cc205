"""A sale whose ledger has entries of every kind."""

from collections.abc import Collection

import msgspec
from sqlalchemy import Engine

from purchase_worker.drain import drain
from shared.config.settings import Settings
from shared.database.engine import statement
from shared.database.ledger import LedgerPage, read_entries
from tests.support.factories import (
    add_event,
    add_ticket_type,
    add_user,
    ignore,
    issue,
    queue_buy,
    queue_issue,
    queue_resolution,
)


class Sale:
    """Entries of every kind; tickets are 10.00, of two types."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine, self.settings = engine, settings
        self.owner, self.user = add_user(engine), add_user(engine)
        self.event = add_event(engine, self.owner)
        self.adult = add_ticket_type(engine, 10, event_id=self.event)
        self.child = add_ticket_type(engine, 5, event_id=self.event)

    def buy(self, *lines: tuple[int, int], hold_seconds: int | None = None) -> str:
        return queue_buy(
            self.engine, lines, hold_seconds=hold_seconds, user_id=self.user, buyer="Ann"
        )

    def decide(self) -> None:
        drain(self.engine, [self.event], self.settings, ignore)

    def read(
        self, after: int = 0, rows: int = 1_000, kinds: Collection[str] | None = None
    ) -> LedgerPage:
        with statement(self.engine) as cursor:
            return read_entries(cursor, self.event, after, rows=rows, kinds=kinds)

    def sell_of_every_kind(self) -> dict[str, str]:
        """Returns the purchases by name."""
        engine = self.engine
        issue(engine, self.child, -1)
        cart = self.buy((self.adult, 2), (self.child, 1))
        paid, given_up = (
            self.buy((self.adult, 3), hold_seconds=60),
            self.buy((self.adult, 1), hold_seconds=60),
        )
        late = self.buy((self.child, 1), hold_seconds=1)
        too_many = self.buy((self.adult, 9))
        self.decide()
        queue_resolution(engine, "confirm", paid, payment_reference="pi_1")
        queue_resolution(engine, "release", given_up)
        queue_resolution(engine, "confirm", given_up, payment_reference="pi_2")
        queue_issue(engine, self.child, -5)
        self.decide()
        part, rest = (
            [{"ticket_type": self.adult, "quantity": 1}],
            [
                {"ticket_type": self.child, "quantity": 1},
                {"ticket_type": self.adult, "quantity": 1},
            ],
        )
        for items in (part, rest, part):
            written = msgspec.json.encode(items).decode()
            queue_resolution(engine, "cancel", cart, items=written, restock=items is rest)
        queue_resolution(engine, "extend", cart, seconds=120)
        queue_resolution(engine, "expire", late)
        self.decide()
        return {
            "cart": cart,
            "paid": paid,
            "given_up": given_up,
            "late": late,
            "too_many": too_many,
        }
