"""What the database itself refuses, should a rule of the catalog ever let it through."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import ProgrammingError

from catalog.transactions import session_transaction
from shared.database.tables import Event, TicketType
from shared.errors import InvalidInput
from tests.integration.catalog.making import make_user

NOON = datetime(2027, 6, 5, 12, tzinfo=UTC)


def an_event(owner_id: int, **changes: object) -> Event:
    fields = {"title": "Night", "start_time": NOON, "end_time": NOON + timedelta(hours=1)}
    return Event(owner_id=owner_id, **fields | changes)


def test_a_violated_constraint_is_an_error_of_its_field(
    engine: Engine,
) -> None:
    owner_id = make_user(engine, "owner")
    for field, value in (
        *(("end_time", NOON), ("title", "")),
        *(("currency", "eur"), ("max_per_user", 0)),
    ):
        with pytest.raises(InvalidInput) as refusal, session_transaction(engine) as session:
            session.add_all([an_event(owner_id), an_event(owner_id, **{field: value})])
        assert list(refusal.value.errors or ()) == [field]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM events")).scalar_one() == 0


@pytest.mark.parametrize(("field", "value"), [("hold_seconds", 29), ("max_per_user", 0)])
def test_so_is_one_of_a_ticket_type(engine: Engine, field: str, value: int) -> None:
    owner_id = make_user(engine, "owner")
    with session_transaction(engine) as session:
        session.add(event := an_event(owner_id))
        session.flush()
        event_id = event.id
    with pytest.raises(InvalidInput) as refusal, session_transaction(engine) as session:
        session.add(TicketType(event_id=event_id, name="Seat", price=1, **{field: value}))
    assert list(refusal.value.errors or ()) == [field]


def test_a_number_that_no_column_holds_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidInput), session_transaction(engine) as session:
        session.add(an_event(1, max_per_user=2**40))


def test_a_mistake_of_our_own_is_not_blamed_on_the_client(engine: Engine) -> None:
    with pytest.raises(ProgrammingError), session_transaction(engine) as session:
        session.execute(text("SELECT nothing FROM nowhere"))
