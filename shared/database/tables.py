"""The tables. Migrations create them; each service has its own queries on these definitions."""

from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    FetchedValue,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    Numeric,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, DOUBLE_PRECISION, ENUM, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import UserDefinedType

from shared.purchases import HAS_END


class Xid8(UserDefinedType[int]):
    """A 64-bit PostgreSQL transaction id."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"


class PgSnapshot(UserDefinedType[str]):
    """Which transactions were visible at a moment: PostgreSQL's `pg_snapshot`."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "pg_snapshot"


REQUEST_KIND = ENUM(
    "buy",
    "issue",
    "withdraw",
    "confirm",
    "release",
    "cancel",
    "expire",
    "extend",
    name="request_kind",
)
ENTRY_KIND = ENUM(
    "issued",
    "withdrawn",
    "confirmed",
    "held",
    "rejected",
    "refused",
    "released",
    "expired",
    "cancelled",
    "extended",
    name="entry_kind",
)
REJECTION_REASON = ENUM(
    "not_enough_tickets",
    "over_user_limit",
    "all_held",
    "not_held",
    "hold_expired",
    "hold_released",
    "not_due",
    "already_confirmed",
    "not_confirmed",
    "already_cancelled",
    "extension_limit",
    name="rejection_reason",
)


# Of tables whose rows are deleted soon, however many there are.
VACUUMED_BY_NUMBER = {
    "postgresql_with": {
        "autovacuum_vacuum_scale_factor": 0,
        "autovacuum_vacuum_threshold": 10_000,
    }
}


class Base(DeclarativeBase):
    type_annotation_map: ClassVar = {
        datetime: DateTime(timezone=True),
        str: Text,
        int: BigInteger,
    }


def written_out(column: str) -> str:
    """A CHECK that a time can be formatted: its year has four digits, and it is not infinite."""
    return f"{column} >= '0001-01-01 00:00:00+00' AND {column} < '10000-01-01 00:00:00+00'"


class UserRow(Base):
    __tablename__ = "users"
    __table_args__ = (
        Index("users_username_key", text("lower(username)"), unique=True),
        CheckConstraint("id >= 1", name="users_id_positive"),
        # The gateway checks which characters beyond ASCII are letters; here they all pass.
        CheckConstraint(
            r"""username COLLATE "C" ~ '^[\w.@+\-\u0080-\U0010ffff]+$'""",
            name="users_username_form",
        ),
        CheckConstraint("username IS NFKC NORMALIZED", name="users_username_one_spelling"),
        CheckConstraint(
            r"""length(email) <= 254 AND email COLLATE "C" ~ '^[^@\s]+@[^@\s.]+(\.[^@\s.]+)+$'""",
            name="users_email_form",
        ),
        CheckConstraint("password_hash LIKE '$argon2id$%'", name="users_password_hashed"),
        CheckConstraint("(issuer IS NULL) = (subject IS NULL)", name="users_subject_of_issuer"),
        CheckConstraint(
            "length(issuer) BETWEEN 1 AND 255 AND length(subject) BETWEEN 1 AND 255",
            name="users_subject_length",
        ),
        Index(
            "users_subject_key",
            "issuer",
            "subject",
            unique=True,
            postgresql_where=text("issuer IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    username: Mapped[str | None] = mapped_column(String(150))  # None: the account was erased
    email: Mapped[str | None]
    # None: cannot log in by password (minted by the operator, or of a trusted issuer).
    password_hash: Mapped[str | None]
    # As a trusted issuer names the user; None: an account of this system.
    issuer: Mapped[str | None]
    subject: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    locked_at: Mapped[datetime | None]  # by the operator; None: not locked
    erased_at: Mapped[datetime | None]  # by its user; None: not erased


class RefreshToken(Base):
    """One row for each refresh token issued. A family is all tokens of one sign-in."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (
        Index("refresh_tokens_by_family", "family"),
        Index("refresh_tokens_by_user", "user_id"),
        Index("refresh_tokens_by_expiry", "expires_at"),
        CheckConstraint("expires_at > issued_at", name="refresh_tokens_expires_after_issue"),
        CheckConstraint(
            "(spent_at IS NULL) = (successor IS NULL)", name="refresh_tokens_spent_for_successor"
        ),
    )

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)  # the token's `jti`
    # The sign-in's first token; its row lock serialises transactions on the family.
    family: Mapped[UUID] = mapped_column(ForeignKey("refresh_tokens.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    issued_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    spent_at: Mapped[datetime | None]
    successor: Mapped[UUID | None] = mapped_column(Uuid)
    revoked_at: Mapped[datetime | None]


class TokenCutoff(Base):
    """A user's tokens that were issued before `valid_from` are void, though not expired.

    Without a foreign key: it outlives its user, as the tokens do.
    """

    __tablename__ = "token_cutoffs"
    __table_args__ = (Index("token_cutoffs_by_change", "changed_xid"),)

    user_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    # Unix seconds, as in a token's `iat`; None: the user is locked, and no token is valid.
    valid_from: Mapped[int | None]
    # Of the last change; a trigger writes it.
    changed_xid: Mapped[int] = mapped_column(Xid8(), server_default=text("pg_current_xact_id()"))


class ApiKey(Base):
    """A key of a server. Revoked, never deleted: processes read the rows that have changed."""

    __tablename__ = "api_keys"
    __table_args__ = (
        Index("api_keys_hash", "hash", unique=True),
        Index("api_keys_by_change", "changed_xid"),
        Index("api_keys_by_user", "user_id", "id", postgresql_where=text("revoked_at IS NULL")),
        CheckConstraint("length(name) BETWEEN 1 AND 100", name="api_keys_name_length"),
        CheckConstraint(
            "scopes <@ ARRAY['read', 'purchase', 'payments', 'manage']"
            " AND cardinality(scopes) >= 1",
            name="api_keys_scopes_known",
        ),
        CheckConstraint("octet_length(hash) = 32", name="api_keys_hashed"),
        CheckConstraint("expires_at > created_at", name="api_keys_expires_after_creation"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    hash: Mapped[bytes] = mapped_column(BYTEA)  # SHA-256: its secret has 256 random bits
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    # Of the last change but for `last_used_at`; a trigger writes it.
    changed_xid: Mapped[int] = mapped_column(Xid8(), server_default=text("pg_current_xact_id()"))


class IdempotencyKey(Base):
    """An `Idempotency-Key` of a request that is not in `requests`, and what it made or changed."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (
        CheckConstraint("length(key) BETWEEN 1 AND 255", name="idempotency_keys_length"),
    )

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[bytes] = mapped_column(BYTEA)  # names the kind of its row, too
    row_id: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Event(Base):
    __tablename__ = "events"
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012 - as SQLAlchemy types it
    __table_args__ = (
        CheckConstraint("length(title) BETWEEN 1 AND 200", name="events_title_length"),
        CheckConstraint("end_time > start_time", name="events_end_after_start"),
        CheckConstraint("id >= 1", name="events_id_positive"),
        CheckConstraint(r"""title COLLATE "C" !~ '^\s|\s$'""", name="events_title_trimmed"),
        CheckConstraint(written_out("start_time"), name="events_start_time_writable"),
        CheckConstraint(written_out("end_time"), name="events_end_time_writable"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="events_currency_form"),
        CheckConstraint("max_per_user >= 1", name="events_max_per_user_positive"),
        CheckConstraint(
            r"""payment_url COLLATE "C" ~* '^https?://[!-~]+$' AND strpos(payment_url, '\') = 0""",
            name="events_payment_url_form",
        ),
        CheckConstraint("length(payment_url) <= 2000", name="events_payment_url_length"),
        CheckConstraint("length(notice) <= 500", name="events_notice_length"),
        # Pages of lists go on after a row, in their order.
        Index("events_by_owner", "owner_id", "id"),
        Index("events_by_start_time", "start_time", "id"),
        Index("events_by_end_time", "end_time", "id"),
        Index("events_by_title", "title", "id"),
        Index("events_published", "end_time", postgresql_where=text("published")),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    title: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    # Title and description for searches; None: written by a version without it.
    search_text: Mapped[str | None] = mapped_column(deferred=True)
    start_time: Mapped[datetime]
    end_time: Mapped[datetime]
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    currency: Mapped[str] = mapped_column(server_default="EUR")  # ISO 4217
    # Tickets that one user may have, over all ticket types; None: no limit.
    max_per_user: Mapped[int | None] = mapped_column(Integer)
    # Whether everybody may read its sale, and how many tickets are left.
    published: Mapped[bool] = mapped_column(server_default=text("false"))
    show_left: Mapped[bool] = mapped_column(server_default=text("false"))
    # Where its buyers pay; None: nowhere.
    payment_url: Mapped[str | None]
    # What its owner has to say to all who wait.
    notice: Mapped[str] = mapped_column(server_default="")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(  # a trigger writes it
        server_default=func.now(), server_onupdate=FetchedValue()
    )


class TicketType(Base):
    __tablename__ = "ticket_types"
    __table_args__ = (
        CheckConstraint("length(name) BETWEEN 1 AND 200", name="ticket_types_name_length"),
        CheckConstraint("price >= 0", name="ticket_types_price_not_negative"),
        CheckConstraint("max_per_purchase >= 1", name="ticket_types_max_per_purchase_positive"),
        CheckConstraint("max_per_user >= 1", name="ticket_types_max_per_user_positive"),
        CheckConstraint("sales_end > sales_start", name="ticket_types_sales_end_after_start"),
        CheckConstraint("id >= 1", name="ticket_types_id_positive"),
        CheckConstraint(r"""name COLLATE "C" !~ '^\s|\s$'""", name="ticket_types_name_trimmed"),
        # To PostgreSQL NaN is greater than any number, and so not negative.
        CheckConstraint("price <> 'NaN'", name="ticket_types_price_a_number"),
        CheckConstraint(
            "max_per_purchase <= 1000000", name="ticket_types_max_per_purchase_bounded"
        ),
        CheckConstraint(written_out("sales_start"), name="ticket_types_sales_start_writable"),
        CheckConstraint(written_out("sales_end"), name="ticket_types_sales_end_writable"),
        CheckConstraint(written_out("paused_at"), name="ticket_types_paused_at_writable"),
        CheckConstraint(
            "hold_seconds BETWEEN 30 AND 7200", name="ticket_types_hold_seconds_bounded"
        ),
        # Counters refer to both, so that every row of a sale carries its event.
        UniqueConstraint("event_id", "id", name="ticket_types_of_event"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    event_id: Mapped[int] = mapped_column(ForeignKey("events.id", ondelete="CASCADE"))
    name: Mapped[str]
    price: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    sales_start: Mapped[datetime | None]
    sales_end: Mapped[datetime | None]
    max_per_purchase: Mapped[int] = mapped_column(Integer, server_default="10")
    max_per_user: Mapped[int | None] = mapped_column(Integer)
    # How long tickets are held for their payment; None: a purchase is confirmed at once.
    hold_seconds: Mapped[int | None] = mapped_column(Integer)
    # Since when its owner or operator has paused the sale; None: it is not paused.
    paused_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # A trigger writes it, also when tickets are issued or withdrawn; not for sales.
    updated_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), server_onupdate=FetchedValue()
    )


class Lane(Base):
    """The head of an event's ledger. Its row lock is the lane's lock: who has it may decide.

    It is made with the event and kept for ever, as the ledger is.
    """

    __tablename__ = "lanes"
    __table_args__ = (
        CheckConstraint("number >= 0", name="lanes_number_not_negative"),
        {"postgresql_with": {"fillfactor": 20}},
    )

    event_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    # Of the newest entry, and its batch's time.
    number: Mapped[int] = mapped_column(server_default="0")
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    # Where to begin in the work list, past its dead rows: no purchase up to `done_seq` waits or can
    # come, and none up to `next_done_seq` once all transactions before `next_done_xid` have ended
    # (docs/decisions/0021).
    done_seq: Mapped[int] = mapped_column(server_default="0")
    next_done_seq: Mapped[int] = mapped_column(server_default="0")
    next_done_xid: Mapped[int] = mapped_column(Xid8(), server_default="0")
    # By how much all holds were extended since the beginning.
    extended_seconds: Mapped[int] = mapped_column(Integer, server_default="0")


class Counter(Base):
    """Tickets of a type, as its entries in the ledger add up. Left are issued - held - sold."""

    __tablename__ = "counters"
    __table_args__ = (
        ForeignKeyConstraint(
            ["event_id", "ticket_type_id"],
            ["ticket_types.event_id", "ticket_types.id"],
            ondelete="CASCADE",
            onupdate="CASCADE",
            name="counters_ticket_type_id_fkey",
        ),
        CheckConstraint(
            "held >= 0 AND sold >= 0 AND held + sold <= issued", name="counters_never_oversold"
        ),
        {"postgresql_with": {"fillfactor": 20}},
    )

    event_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    ticket_type_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    issued: Mapped[int] = mapped_column(Integer, server_default="0")
    held: Mapped[int] = mapped_column(Integer, server_default="0")
    sold: Mapped[int] = mapped_column(Integer, server_default="0")


class Request(Base):
    """A command to an event's lane, as it was accepted. Never changed.

    A purchase of one ticket type has its line in columns; a cart of several has them in `items`:
    `[{"ticket_type": 1, "quantity": 2, "unit_price": "25.00", "user_limit": null}, ...]`. A
    cancellation has there what it cancels: `[{"ticket_type": 1, "quantity": 1}]`.
    """

    __tablename__ = "requests"
    __table_args__ = (
        CheckConstraint(
            "CASE WHEN kind IN ('confirm', 'release', 'expire', 'extend') THEN"
            " num_nonnulls(ticket_type_id, quantity, items) = 0 WHEN kind = 'cancel' THEN"
            " items IS NOT NULL AND num_nonnulls(ticket_type_id, quantity) = 0 AND"
            " jsonb_array_length(items) BETWEEN 1 AND 10 WHEN items IS NULL THEN"
            " num_nulls(ticket_type_id, quantity) = 0 ELSE num_nonnulls(ticket_type_id,"
            " quantity, unit_price, user_limit) = 0 AND jsonb_array_length(items) BETWEEN"
            " 2 AND 10 END",
            name="requests_lines",
        ),
        # The terms of each kind of command; others have none.
        CheckConstraint(
            "CASE kind WHEN 'buy' THEN num_nulls(user_id, currency) = 0 AND"
            " num_nonnulls(unit_price, items) = 1 AND num_nonnulls(purchase_id,"
            " payment_reference, amount, restock, note) = 0 ELSE num_nonnulls(unit_price,"
            " user_limit, event_user_limit) = 0 AND (buyer = '' OR kind = 'expire') AND"
            " (user_id IS NOT NULL OR kind IN ('issue', 'withdraw')) AND (purchase_id IS NOT"
            " NULL) ="
            " (kind IN ('confirm', 'release', 'cancel', 'expire')) AND"
            " num_nonnulls(payment_reference, amount, currency) = CASE kind WHEN 'confirm'"
            " THEN 3 ELSE 0 END AND (restock IS NOT NULL) = (kind = 'cancel') AND (note IS"
            " NULL OR kind = 'cancel') AND (hold_seconds IS NOT NULL) = (kind = 'extend')"
            " AND (items IS NULL OR kind = 'cancel') AND (idempotency_key IS NULL OR kind"
            " NOT IN ('issue', 'withdraw', 'expire')) END",
            name="requests_terms",
        ),
        CheckConstraint("hold_seconds >= 1", name="requests_hold_seconds_positive"),
        CheckConstraint("length(buyer) <= 255", name="requests_buyer_length"),
        CheckConstraint(
            "length(payment_reference) BETWEEN 1 AND 255", name="requests_payment_reference_length"
        ),
        CheckConstraint("length(note) BETWEEN 1 AND 500", name="requests_note_length"),
        CheckConstraint("quantity >= 1", name="requests_quantity_positive"),
        # To PostgreSQL NaN is greater than any number, and so not negative.
        CheckConstraint(
            "unit_price >= 0 AND unit_price <> 'NaN'", name="requests_unit_price_not_negative"
        ),
        CheckConstraint(
            "user_limit >= 1 AND event_user_limit >= 1", name="requests_user_limits_positive"
        ),
        CheckConstraint("length(idempotency_key) BETWEEN 1 AND 255", name="requests_key_length"),
        CheckConstraint(
            "(idempotency_key IS NULL) = (fingerprint IS NULL)", name="requests_key_has_fingerprint"
        ),
        Index(
            "requests_idempotency",
            "user_id",
            "idempotency_key",
            unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
        # Lists of a user's purchases. The condition keeps it from what finds a key or a payment,
        # which have no constant user (migration 0029).
        Index("requests_of_user", "user_id", "seq", postgresql_where=text("user_id > 0")),
        # The list of a buyer's purchases.
        Index(
            "requests_by_buyer",
            "user_id",
            "buyer",
            "seq",
            postgresql_where=text("buyer <> ''"),
        ),
        # What a holder has of an event, for its limits.
        Index("requests_by_holder", "event_id", "user_id", "buyer", "seq"),
        # Which of a holder's holds expired.
        Index(
            "requests_of_expiries",
            "user_id",
            "buyer",
            "event_id",
            "seq",
            postgresql_where=text("kind = 'expire'"),
        ),
        # A release that waits.
        Index("requests_of_releases", "purchase_id", postgresql_where=text("kind = 'release'")),
        Index(
            "requests_by_payment_reference",
            "user_id",
            "payment_reference",
            postgresql_where=text("payment_reference IS NOT NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    event_id: Mapped[int]
    # The order of acceptance. Cache 1: a session must not keep numbers back for later.
    seq: Mapped[int] = mapped_column(Identity(always=True, cache=1))
    # No foreign keys, which look up and lock row by row: triggers check a whole batch.
    user_id: Mapped[int | None]  # None: issued or withdrawn by SQL, or a hold that is due
    ticket_type_id: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # The transaction that accepted it: with `Batch.seen` the proof of its place.
    accepted_xid: Mapped[int] = mapped_column(Xid8(), server_default=text("pg_current_xact_id()"))
    kind: Mapped[str] = mapped_column(REQUEST_KIND, server_default="buy")
    quantity: Mapped[int | None] = mapped_column(Integer)
    # The terms, frozen at acceptance: what the owner changes later changes no earlier request.
    user_limit: Mapped[int | None] = mapped_column(Integer)
    event_user_limit: Mapped[int | None] = mapped_column(Integer)
    unit_price: Mapped[Decimal | None] = mapped_column(Numeric(12, 2))
    currency: Mapped[str | None]
    items: Mapped[list[dict[str, Any]] | None] = mapped_column(JSONB)
    idempotency_key: Mapped[str | None]
    fingerprint: Mapped[bytes | None] = mapped_column(BYTEA)
    request_id: Mapped[str | None]
    # Of the request's span, where it is traced (W3C Trace Context): no term.
    traceparent: Mapped[str | None]
    # Whom a server with a key buys for. With `user_id` the holder, whom limits are counted for.
    buyer: Mapped[str] = mapped_column(server_default="")
    # Of a purchase: how long it is held, None: not at all. Of an extension: by how much.
    hold_seconds: Mapped[int | None] = mapped_column(Integer)
    # The purchase that is confirmed, released, cancelled or expired.
    purchase_id: Mapped[UUID | None] = mapped_column(Uuid)
    # Of a confirmation, with `currency`. Ten lines of a million tickets at 9,999,999,999.99 fit.
    payment_reference: Mapped[str | None]
    amount: Mapped[Decimal | None] = mapped_column(Numeric(19, 2))
    # Of a cancellation: whether its tickets go back on sale.
    restock: Mapped[bool | None]
    note: Mapped[str | None]


class WorkListRow(Base):
    """A command that waits for its decision. It comes with the request, and goes with the entry."""

    __tablename__ = "work_list"
    __table_args__ = (
        CheckConstraint("class IN (0, 1)", name="work_list_class_known"),
        VACUUMED_BY_NUMBER,
    )

    event_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    # 0: resolutions, which go first; 1: purchases. Each class is first in, first out.
    class_: Mapped[int] = mapped_column(
        "class", SmallInteger, primary_key=True, autoincrement=False
    )
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    command_id: Mapped[UUID] = mapped_column(Uuid)


class Hold(Base):
    """A purchase that is held for its payment. Kept by the ledger's trigger.

    It ends at `ends_at` and the `extended_seconds` of its lane: so an extension changes no row.
    """

    __tablename__ = "holds"
    __table_args__ = (
        # The condition keeps it from what finds one hold (migration 0029).
        Index("holds_in_order", "event_id", "ends_at", postgresql_where=text(HAS_END)),
        VACUUMED_BY_NUMBER,
    )

    event_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    purchase_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    ends_at: Mapped[datetime]


class Entry(Base):
    """What a command changed, and what was left after it. Never changed.

    The lines of a cart are in `items`: `[{"ticket_type": 1, "change": -2, "left_after": 3}, ...]`.
    So are those of an entry of an earlier purchase, with `quantity`; of a cancellation also with
    `cancelled`, how many of the line are cancelled so far.
    """

    __tablename__ = "ledger"
    __table_args__ = (
        UniqueConstraint("event_id", "command_id", name="ledger_one_answer"),
        CheckConstraint("number >= 1", name="ledger_number_positive"),
        CheckConstraint(
            "CASE WHEN items IS NULL THEN num_nulls(ticket_type_id, change, left_after) = 0"
            " ELSE num_nonnulls(ticket_type_id, change, left_after) = 0 END",
            name="ledger_lines",
        ),
        CheckConstraint(
            "(kind IN ('rejected', 'refused')) = (reason IS NOT NULL)", name="ledger_reason"
        ),
        CheckConstraint(
            "CASE kind WHEN 'issued' THEN change > 0 WHEN 'rejected' THEN change = 0"
            " WHEN 'refused' THEN change = 0 ELSE change < 0 END",
            name="ledger_change_of_kind",
        ),
        CheckConstraint("left_after >= 0", name="ledger_left_not_negative"),
        Index(
            "ledger_of_purchase",
            "event_id",
            "purchase_id",
            "number",
            postgresql_where=text("purchase_id IS NOT NULL"),
        ),
    )

    event_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    command_id: Mapped[UUID] = mapped_column(Uuid)
    # The earlier purchase that it changed; None of the answer to a purchase itself.
    purchase_id: Mapped[UUID | None] = mapped_column(Uuid)
    ticket_type_id: Mapped[int | None]
    kind: Mapped[str] = mapped_column(ENTRY_KIND)
    reason: Mapped[str | None] = mapped_column(REJECTION_REASON)
    change: Mapped[int | None] = mapped_column(Integer)
    left_after: Mapped[int | None] = mapped_column(Integer)
    items: Mapped[list[dict[str, Any]] | None] = mapped_column(JSONB)


class Batch(Base):
    """One transaction of a lane: which entries it wrote, and what it could see. Never changed."""

    __tablename__ = "batches"
    __table_args__ = (
        CheckConstraint("first_number BETWEEN 1 AND last_number", name="batches_numbers"),
    )

    event_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    first_number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    last_number: Mapped[int]
    # Of its entries; never before an earlier batch's, nor before its commands were accepted.
    at: Mapped[datetime]
    seen: Mapped[str] = mapped_column(PgSnapshot())
    decided_by: Mapped[str]
    # Of the same transaction; None: not a drain's.
    locked_lanes: Mapped[int | None] = mapped_column(SmallInteger)
    # Of before the ledger, when each ticket type had an order of its own: proved within it.
    ticket_type_id: Mapped[int | None]


class LedgerEpoch(Base):
    """One row: which history the numbers of all ledgers count (`shared.database.epoch`)."""

    __tablename__ = "ledger_epoch"
    __table_args__ = (
        CheckConstraint("id", name="ledger_epoch_one"),
        CheckConstraint("epoch ~ '^[0-9a-f]{12}$'", name="ledger_epoch_form"),
    )

    id: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    epoch: Mapped[str]
    # The database that it was made in.
    origin: Mapped[str]
    since: Mapped[datetime] = mapped_column(server_default=func.now())


class Webhook(Base):
    """Where a user wants the entries of his events to be sent."""

    __tablename__ = "webhooks"
    __table_args__ = (
        Index("webhooks_by_user", "user_id", "id"),
        Index("webhooks_tested", "id", postgresql_where=text("test_id IS NOT NULL")),
        CheckConstraint("length(url) BETWEEN 1 AND 2000", name="webhooks_url_length"),
        CheckConstraint("cardinality(kinds) >= 1", name="webhooks_kinds_some"),
        CheckConstraint(
            "(disabled_at IS NULL) = (disabled_reason IS NULL) AND"
            " disabled_reason IN ('owner', 'gone', 'failing')",
            name="webhooks_disabled_for_a_reason",
        ),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    # None: all events of the user. No foreign key: a ledger outlives its event.
    event_id: Mapped[int | None]
    url: Mapped[str]
    kinds: Mapped[list[str]] = mapped_column(ARRAY(ENTRY_KIND))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # By its owner, because it answered 410, or because it failed for days.
    disabled_at: Mapped[datetime | None]
    disabled_reason: Mapped[str | None]
    # Of a test delivery that waits to be sent.
    test_id: Mapped[UUID | None] = mapped_column(Uuid)


class WebhookSecret(Base):
    """What signs the deliveries of a webhook: all that have not expired. The sender reads them."""

    __tablename__ = "webhook_secrets"
    __table_args__ = (
        Index("webhook_secrets_by_webhook", "webhook_id"),
        CheckConstraint("octet_length(secret) BETWEEN 24 AND 64", name="webhook_secrets_length"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    webhook_id: Mapped[int] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    secret: Mapped[bytes] = mapped_column(BYTEA)
    expires_at: Mapped[datetime | None]  # None: it is the newest


class WebhookCursor(Base):
    """How far a webhook has received the entries of an event, and what is being sent."""

    __tablename__ = "webhook_cursors"
    __table_args__ = (
        Index("webhook_cursors_by_event", "event_id"),
        Index("webhook_cursors_failing", "webhook_id", postgresql_where=text("failures > 0")),
        CheckConstraint("number >= 0", name="webhook_cursors_number_not_negative"),
        CheckConstraint(
            "(sending_id IS NULL) = (sending_to IS NULL) AND sending_to >= number",
            name="webhook_cursors_sending",
        ),
        CheckConstraint(
            "failures >= 0 AND (failures = 0) = (failing_since IS NULL)",
            name="webhook_cursors_failures",
        ),
        VACUUMED_BY_NUMBER,
    )

    webhook_id: Mapped[int] = mapped_column(
        ForeignKey("webhooks.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    event_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    # Of the last entry that was received, or that it does not want.
    number: Mapped[int] = mapped_column(server_default="0")
    # The delivery of the entries after `number` up to `sending_to`: the same at each attempt.
    sending_id: Mapped[UUID | None] = mapped_column(Uuid)
    sending_to: Mapped[int | None]
    # The database was restored, and the receiver has not been told.
    is_restored: Mapped[bool] = mapped_column(server_default=text("false"))
    # Attempts of it that failed, and since when; later by the time in which it was due, not tried.
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    failing_since: Mapped[datetime | None]
    # Not to be claimed before: a sender has it until then, or it has failed.
    next_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # Of the sender that claimed it last: an earlier one changes nothing more.
    turn: Mapped[int] = mapped_column(server_default="0")


class WebhookDelivery(Base):
    """One attempt. The newest of each webhook are kept."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index("webhook_deliveries_by_webhook", "webhook_id", "id"),
        VACUUMED_BY_NUMBER,
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    webhook_id: Mapped[int] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    delivery_id: Mapped[UUID] = mapped_column(Uuid)
    event_id: Mapped[int | None]  # these four: None of a test
    first_number: Mapped[int | None]
    last_number: Mapped[int | None]
    attempt: Mapped[int | None] = mapped_column(Integer)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    status: Mapped[int | None] = mapped_column(SmallInteger)  # None: no response
    failure: Mapped[str | None]  # its class; None: it was received
    milliseconds: Mapped[int] = mapped_column(Integer)


class SalePause(Base):
    """When the sale of a ticket type was paused or resumed. A trigger keeps it."""

    __tablename__ = "sale_pauses"

    ticket_type_id: Mapped[int] = mapped_column(
        ForeignKey("ticket_types.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    at: Mapped[datetime] = mapped_column(primary_key=True)
    paused: Mapped[bool]


class EdgeRefusal(Base):
    """Purchases that gateways refused before they were queued, in a step of time from `at` on.

    Steps are narrow at first, and later an hour long.
    """

    __tablename__ = "edge_refusals"
    __table_args__ = (
        Index("edge_refusals_by_time", "step_seconds", "at"),
        CheckConstraint(
            "code IN ('all_held', 'not_enough_tickets', 'not_your_event', 'over_user_limit',"
            " 'sale_closed', 'sale_not_open', 'sale_paused', 'too_many_expired_holds',"
            " 'too_many_requests')",
            name="edge_refusals_code_known",
        ),
        CheckConstraint("count >= 1", name="edge_refusals_count_positive"),
        CheckConstraint("step_seconds IN (2, 3600)", name="edge_refusals_step_known"),
        VACUUMED_BY_NUMBER,
    )

    event_id: Mapped[int] = mapped_column(
        ForeignKey("events.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    at: Mapped[datetime] = mapped_column(primary_key=True)
    step_seconds: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int]


class Audit(Base):
    """An audit of an event that its owner asked for: queued, run by a sweeper, and its verdict."""

    __tablename__ = "audits"
    __table_args__ = (
        Index("audits_by_event", "event_id", "id"),
        Index("audits_by_end", "finished_at"),
        Index(
            "audits_one_for_an_event",
            "event_id",
            unique=True,
            postgresql_where=text("status IN ('queued', 'running')"),
        ),
        CheckConstraint(
            "status IN ('queued', 'running', 'passed', 'failed', 'error')",
            name="audits_status_known",
        ),
        CheckConstraint(
            "(status IN ('passed', 'failed', 'error')) = (finished_at IS NOT NULL)",
            name="audits_finished",
        ),
        CheckConstraint("(status = 'running') = (lease_until IS NOT NULL)", name="audits_leased"),
        CheckConstraint("cardinality(findings) <= 20", name="audits_findings_bounded"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    event_id: Mapped[int] = mapped_column(ForeignKey("events.id", ondelete="CASCADE"))
    status: Mapped[str] = mapped_column(server_default="queued")
    requested_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # How often it was begun: who began it before changes nothing more.
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    # Then its sweeper is gone, and another may begin it anew.
    lease_until: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    entries: Mapped[int | None]
    seconds: Mapped[float | None] = mapped_column(DOUBLE_PRECISION)
    findings: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    summary: Mapped[str] = mapped_column(server_default="")


class FullAudit(Base):
    """The result of an audit of all sales, by `eventify audit --record`; alerts go by it."""

    __tablename__ = "full_audits"
    __table_args__ = (
        CheckConstraint("violations >= 0", name="full_audits_violations_not_negative"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    violations: Mapped[int]
    entries: Mapped[int]
    seconds: Mapped[float] = mapped_column(DOUBLE_PRECISION)
