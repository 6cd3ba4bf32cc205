"""How errors of the database become problems."""

from sqlalchemy import CheckConstraint

from catalog.transactions import FIELD_OF_CONSTRAINT
from shared.database.tables import Event, TicketType

NO_CLIENT_BREAKS = {
    *("events_id_positive", "ticket_types_id_positive", "ticket_types_paused_at_writable"),
}


def test_each_check_that_a_client_may_break_has_its_field() -> None:
    checks = {
        constraint.name
        for table in (Event.__table__, TicketType.__table__)
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }
    assert checks - FIELD_OF_CONSTRAINT.keys() == NO_CLIENT_BREAKS
