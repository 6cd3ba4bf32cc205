"""The bodies of live figures, for their documentation."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field
from typing_extensions import TypeAliasType

from gateway.audits.schemas import Audit
from gateway.sales.rules import SaleState
from shared.row_ids import MAX_ID
from shared.web.openapi import schemas_of, with_example

TIME = "2026-11-22T14:50:23.358Z"
LIVE: dict[str, Any] = {
    "event": 1,
    "at": TIME,
    "stale": False,
    "ticket_types": [
        {
            "id": 1,
            "name": "Standing",
            "state": "all_held",
            "paused": False,
            "issued": 100,
            "left": 0,
            "held": 5,
            "confirmed": 95,
            "queued": 12,
            "waiting": 0,
            "oldest_queued_seconds": 0.012,
        }
    ],
    "issued": 100,
    "left": 0,
    "held": 5,
    "confirmed": 95,
    "queued": 12,
    "waiting": 0,
    "oldest_queued_seconds": 0.012,
    "accepted_per_second": 812.4,
    "decided_per_second": 810.2,
    "p50_seconds": 0.008,
    "p99_seconds": 0.021,
    "refusals": {"not_enough_tickets": 4734},
    "webhooks": {"count": 1, "failing": 0, "behind_entries": 3, "behind_seconds": 0.2},
    "audit": None,
}
HISTORY: dict[str, Any] = {
    "event": 1,
    "now": TIME,
    "step_seconds": 1,
    "points": [
        {
            "at": "2026-11-22T14:50:20.000Z",
            "left": 60,
            "held": 5,
            "confirmed": 35,
            "queued": 12,
            "decided": 40,
            "accepted": 52,
            "refused": {"sale_not_open": 7},
        }
    ],
    "marks": [
        {"at": "2026-11-22T14:50:20.000Z", "kind": "opening", "ticket_type": 1, "change": None}
    ],
}


class LiveTicketType(BaseModel):
    """A ticket type at a moment."""

    id: int = Field(ge=1, le=MAX_ID)
    name: str
    state: SaleState
    paused: bool = Field(description="Also before the opening, when `state` is `not_open`.")
    issued: int = Field(ge=0)
    left: int = Field(ge=0)
    held: int = Field(ge=0)
    confirmed: int = Field(ge=0)
    queued: int | None = Field(
        ge=0, description="Purchases; null while more than 1,000 of the event are queued."
    )
    waiting: int = Field(ge=0, description="Buyers who wait in place.")
    oldest_queued_seconds: float | None = Field(ge=0)


class LiveWebhooks(BaseModel):
    """The event's webhooks that are enabled."""

    count: int = Field(ge=1)
    failing: int = Field(ge=0)
    behind_entries: int = Field(ge=0, description="Of the webhook that is furthest behind.")
    behind_seconds: float = Field(ge=0, description="Since its oldest entry that was not sent.")


class Live(BaseModel):
    """What goes on in a sale. Figures without a time are tickets; queued ones purchases."""

    model_config = with_example(LIVE)

    event: int = Field(ge=1, le=MAX_ID)
    at: datetime = Field(description="When it was read.")
    stale: bool = Field(description="The database was unavailable since.")
    ticket_types: list[LiveTicketType] = Field(description="The first 200; totals are of all.")
    issued: int = Field(ge=0)
    left: int = Field(ge=0)
    held: int = Field(ge=0)
    confirmed: int = Field(ge=0)
    queued: int | None = Field(ge=0, description="Null: more than 200,000.")
    waiting: int = Field(ge=0)
    oldest_queued_seconds: float = Field(ge=0)
    accepted_per_second: float | None = Field(
        ge=0, description="Of the last five seconds; null in the first sample."
    )
    decided_per_second: float | None = Field(ge=0)
    p50_seconds: float | None = Field(
        description="From acceptance to decision, of a sample of the newest decisions; null if"
        " there was none for a minute."
    )
    p99_seconds: float | None
    refusals: dict[str, int] = Field(description="By code, since the beginning.")
    webhooks: LiveWebhooks | None
    audit: Audit | None = Field(description="The last one.")


class LiveHistoryPoint(BaseModel):
    """A step: `left` to `queued` are at its end, the others happened in it."""

    at: datetime = Field(description="When the step begins.")
    left: int = Field(ge=0)
    held: int = Field(ge=0)
    confirmed: int
    queued: int | None = Field(
        description="Of those that are decided by now; null if the ledger is too long to tell."
    )
    decided: int = Field(ge=0)
    accepted: int = Field(ge=0, description="Of those that are decided by now.")
    refused: dict[str, int]


LiveHistoryMarkKind = TypeAliasType(
    "LiveHistoryMarkKind",
    Literal["opening", "paused", "resumed", "capacity", "sold_out", "closing"],
)


class LiveHistoryMark(BaseModel):
    """What happened at a moment."""

    at: datetime
    kind: LiveHistoryMarkKind
    ticket_type: int | None = Field(ge=1, le=MAX_ID)
    change: int | None = Field(description="Of the capacity.")


class LiveHistory(BaseModel):
    """The past of a sale, from its first purchase to its last."""

    model_config = with_example(HISTORY)

    event: int = Field(ge=1, le=MAX_ID)
    now: datetime
    step_seconds: int = Field(ge=1)
    points: list[LiveHistoryPoint]
    marks: list[LiveHistoryMark]


SCHEMAS = schemas_of(Live, LiveHistory)
