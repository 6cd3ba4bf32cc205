"""The tables. Migrations create them; each service has its own queries on these definitions."""

from datetime import datetime
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Numeric,
    String,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import BYTEA
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import UserDefinedType


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
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    username: Mapped[str] = mapped_column(String(150))
    email: Mapped[str | None]
    password_hash: Mapped[str | None]  # None: cannot log in by password (minted by the operator)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class RefreshToken(Base):
    """One row for each refresh token issued. A family is all tokens of one sign-in."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (
        Index("refresh_tokens_by_family", "family"),
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


class Event(Base):
    __tablename__ = "events"
    __table_args__ = (
        CheckConstraint("length(title) BETWEEN 1 AND 200", name="events_title_length"),
        CheckConstraint("end_time > start_time", name="events_end_after_start"),
        CheckConstraint("id >= 1", name="events_id_positive"),
        CheckConstraint(r"""title COLLATE "C" !~ '^\s|\s$'""", name="events_title_trimmed"),
        CheckConstraint(written_out("start_time"), name="events_start_time_writable"),
        CheckConstraint(written_out("end_time"), name="events_end_time_writable"),
        Index("events_by_owner", "owner_id"),
        Index("events_by_start_time", "start_time"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    title: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    # Title and description for searches; None: written by a version without it.
    search_text: Mapped[str | None] = mapped_column(deferred=True)
    start_time: Mapped[datetime]
    end_time: Mapped[datetime]
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


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
        Index("ticket_types_by_event", "event_id"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    event_id: Mapped[int] = mapped_column(ForeignKey("events.id", ondelete="CASCADE"))
    name: Mapped[str]
    price: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    sales_start: Mapped[datetime | None]
    sales_end: Mapped[datetime | None]
    max_per_purchase: Mapped[int] = mapped_column(Integer, server_default="10")
    max_per_user: Mapped[int | None] = mapped_column(Integer)
    # Since when its owner or operator has paused the sale; None: it is not paused.
    paused_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class TicketInventory(Base):
    """The hot counter of one ticket type. Narrow, and no foreign key references it."""

    __tablename__ = "ticket_inventory"
    __table_args__ = (
        CheckConstraint("sold BETWEEN 0 AND issued", name="ticket_inventory_never_oversold"),
        CheckConstraint("decisions >= 0", name="ticket_inventory_decisions_not_negative"),
        CheckConstraint("issued - sold <= 1000000000", name="ticket_inventory_left_bounded"),
        {"postgresql_with": {"fillfactor": 20}},
    )

    ticket_type_id: Mapped[int] = mapped_column(
        ForeignKey("ticket_types.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    issued: Mapped[int] = mapped_column(Integer)
    sold: Mapped[int] = mapped_column(Integer, server_default="0")
    decisions: Mapped[int] = mapped_column(server_default="0")


class InventoryChange(Base):
    """How many tickets were issued or withdrawn, and between which decisions.

    Written by a trigger on `ticket_inventory.issued`, so that no code path can forget it.
    """

    __tablename__ = "inventory_changes"
    __table_args__ = (Index("inventory_changes_by_ticket_type", "ticket_type_id", "id"),)

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    ticket_type_id: Mapped[int] = mapped_column(ForeignKey("ticket_types.id", ondelete="CASCADE"))
    change: Mapped[int] = mapped_column(Integer)
    after_decision: Mapped[int]
    changed_by: Mapped[int | None]  # the user's id; null for a change made by SQL
    changed_at: Mapped[datetime] = mapped_column(server_default=func.now())


class TicketPurchase(Base):
    """A purchase request and its outcome: queued once, then confirmed or rejected for ever."""

    __tablename__ = "ticket_purchases"
    __table_args__ = (
        CheckConstraint("quantity >= 1", name="ticket_purchases_quantity_positive"),
        CheckConstraint("unit_price >= 0", name="ticket_purchases_unit_price_not_negative"),
        CheckConstraint(
            "length(idempotency_key) BETWEEN 1 AND 255", name="ticket_purchases_key_length"
        ),
        CheckConstraint(
            "(idempotency_key IS NULL) = (fingerprint IS NULL)",
            name="ticket_purchases_key_has_fingerprint",
        ),
        CheckConstraint(
            "CASE status"
            " WHEN 'queued' THEN num_nulls(reason, decided_at, decision_number, left_after) = 4"
            " WHEN 'confirmed' THEN reason IS NULL"
            " AND num_nulls(decided_at, decision_number, left_after) = 0"
            " WHEN 'rejected' THEN num_nulls(reason, decided_at, decision_number, left_after) = 0"
            " ELSE false END",
            name="ticket_purchases_decided_whole",
        ),
        CheckConstraint("left_after >= 0", name="ticket_purchases_left_not_negative"),
        CheckConstraint("unit_price <> 'NaN'", name="ticket_purchases_unit_price_a_number"),
        CheckConstraint("user_limit >= 1", name="ticket_purchases_user_limit_positive"),
        # Of one purchase; of all that a user holds, only the rule itself can tell.
        CheckConstraint(
            "status <> 'confirmed' OR quantity <= user_limit",
            name="ticket_purchases_within_user_limit",
        ),
        CheckConstraint("decision_number >= 1", name="ticket_purchases_decision_number_positive"),
        # A known reason, which the row's own figures bear out.
        CheckConstraint(
            "CASE reason WHEN 'not_enough_tickets' THEN quantity > left_after"
            " WHEN 'over_user_limit' THEN quantity <= left_after AND user_limit IS NOT NULL"
            " ELSE reason IS NULL END",
            name="ticket_purchases_reason_true",
        ),
        Index(
            "ticket_purchases_idempotency",
            "user_id",
            "idempotency_key",
            unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
        Index(
            "ticket_purchases_queue",
            "ticket_type_id",
            "seq",
            postgresql_where=text("status = 'queued'"),
        ),
        Index("ticket_purchases_by_user", "user_id", "seq"),
        Index(
            "ticket_purchases_decisions",
            "ticket_type_id",
            "decision_number",
            unique=True,
            postgresql_where=text("decision_number IS NOT NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    # The order of acceptance. Cache 1: a session must not keep numbers back for later.
    seq: Mapped[int] = mapped_column(Identity(always=True, cache=1))
    # Not declared as foreign keys, which look up and lock row by row: triggers of the same names
    # hold the same rules for a whole batch.
    user_id: Mapped[int]
    ticket_type_id: Mapped[int]
    quantity: Mapped[int] = mapped_column(Integer)
    # The terms, frozen at acceptance: what the owner changes later changes no earlier request.
    unit_price: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    user_limit: Mapped[int | None] = mapped_column(Integer)
    idempotency_key: Mapped[str | None]
    fingerprint: Mapped[bytes | None] = mapped_column(BYTEA)
    request_id: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # Of the request's span, where it is traced (W3C Trace Context): no term, so no guard.
    traceparent: Mapped[str | None]
    # The transaction that accepted it: with `DecisionBatch.seen` the proof of its place.
    accepted_xid: Mapped[int] = mapped_column(Xid8(), server_default=text("pg_current_xact_id()"))
    status: Mapped[str] = mapped_column(server_default="queued")
    reason: Mapped[str | None]
    decided_at: Mapped[datetime | None]
    decision_number: Mapped[int | None]
    left_after: Mapped[int | None] = mapped_column(Integer)


class DecisionBatch(Base):
    """One drain transaction: which decisions it made, and what it could see when it made them."""

    __tablename__ = "decision_batches"
    __table_args__ = (
        CheckConstraint("first_number BETWEEN 1 AND last_number", name="decision_batches_numbers"),
    )

    ticket_type_id: Mapped[int] = mapped_column(
        ForeignKey("ticket_types.id"), primary_key=True, autoincrement=False
    )
    first_number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    last_number: Mapped[int]
    seen: Mapped[str] = mapped_column(PgSnapshot())
    decided_by: Mapped[str]
    decided_at: Mapped[datetime] = mapped_column(server_default=func.now())
