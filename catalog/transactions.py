"""One request, one transaction; errors of the database become problems."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from psycopg2 import errors
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from shared.database.engine import DATABASE_UNAVAILABLE, TRY_AGAIN
from shared.errors import Conflict, InvalidInput, Problem, TokenNotValid, Unavailable
from shared.observability.logging import get_logger

# SQLSTATE classes and codes (PostgreSQL, appendix A).
DATA_EXCEPTION_CLASS = "22"
FOREIGN_KEY_VIOLATION = "23503"
CHECK_VIOLATION = "23514"

FIELD_OF_CONSTRAINT = {
    "events_title_length": "title",
    "events_title_trimmed": "title",
    "events_start_time_writable": "start_time",
    "events_end_time_writable": "end_time",
    "events_end_after_start": "end_time",
    "events_currency_form": "currency",
    "events_max_per_user_positive": "max_per_user",
    "events_payment_url_form": "payment_url",
    "events_payment_url_length": "payment_url",
    "events_notice_length": "notice",
    "ticket_types_event_id_fkey": "event",
    "ticket_types_with_purchases_stay": "event",
    "ticket_types_name_length": "name",
    "ticket_types_name_trimmed": "name",
    "ticket_types_price_not_negative": "price",
    "ticket_types_price_a_number": "price",
    "ticket_types_max_per_purchase_positive": "max_per_purchase",
    "ticket_types_max_per_purchase_bounded": "max_per_purchase",
    "ticket_types_max_per_user_positive": "max_per_user",
    "ticket_types_hold_seconds_bounded": "hold_seconds",
    "ticket_types_sales_start_writable": "sales_start",
    "ticket_types_sales_end_writable": "sales_end",
    "ticket_types_sales_end_after_start": "sales_end",
    "counters_never_oversold": "capacity",
    "counters_left_bounded": "capacity",
}
HAS_PURCHASES = "It has purchases, so it cannot be deleted."
# It is unknown whether a COMMIT whose connection broke was done, hence the advice to check first.
UNKNOWN = "The database is unavailable; check whether your change was made before you retry."
TOO_SLOW = "The database took too long; ask for less, or retry."
logger = get_logger(__name__)


class RowLocked(Unavailable):
    """Another transaction holds the lock. All was rolled back, and may be run again."""

    default_detail = "It is locked by a sale or another change; nothing was changed. Retry."


@contextmanager
def session_transaction(
    engine: Engine, limits: Mapping[str, str] | None = None
) -> Iterator[Session]:
    """A session whose transaction commits when the block ends, and rolls back when it raises.

    Args:
        engine: connections to PostgreSQL.
        limits: settings of PostgreSQL for this transaction alone, such as `lock_timeout`.

    Raises:
        Problem: the meaning of an error of the database, in words for a client.
    """
    try:
        with Session(engine, expire_on_commit=False) as session, session.begin():
            if limits:
                session.execute(select(*(func.set_config(*one, True) for one in limits.items())))
            yield session
    except SQLAlchemyError as error:
        problem = problem_of(error)
        if problem is None:
            raise
        if isinstance(problem, Unavailable) and not isinstance(problem, RowLocked):
            logger.warning("database_unavailable", sqlstate=_sqlstate(error))
        raise problem from error


def ledgers_of(session: Session) -> set[int]:
    """The events to whose ledgers this session's transaction may add; add to them."""
    ledgers: set[int] = session.info.setdefault("ledgers", set())
    return ledgers


def problem_of(error: SQLAlchemyError) -> Problem | None:
    """The problem that an error of the database means; None: a defect of ours."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    sqlstate = _sqlstate(error)
    constraint = getattr(getattr(cause, "diag", None), "constraint_name", None) or "body"
    if isinstance(cause, TRY_AGAIN):
        return RowLocked()
    if isinstance(cause, errors.QueryCanceled):
        return Unavailable(TOO_SLOW)
    if isinstance(cause, DATABASE_UNAVAILABLE):
        return Unavailable(UNKNOWN)
    if sqlstate == FOREIGN_KEY_VIOLATION:
        return _broken_reference(constraint)
    if sqlstate == CHECK_VIOLATION:
        field = FIELD_OF_CONSTRAINT.get(constraint, constraint)
        return InvalidInput(errors={field: ["This value is not possible."]})
    if sqlstate is not None and sqlstate.startswith(DATA_EXCEPTION_CLASS):
        return InvalidInput("A value is out of range.")
    return None


def _broken_reference(constraint: str) -> Problem:
    if constraint == "events_owner_id_fkey":
        return TokenNotValid("The user of this token does not exist.")
    if constraint == "ticket_types_event_id_fkey":
        return InvalidInput(errors={"event": ["There is no such event."]})
    return Conflict(HAS_PURCHASES)


def _sqlstate(error: SQLAlchemyError) -> str | None:
    return getattr(error.orig, "pgcode", None) if isinstance(error, DBAPIError) else None
