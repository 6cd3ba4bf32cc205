"""The bodies of audits of an event."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field
from typing_extensions import TypeAliasType

from shared.row_ids import MAX_ID
from shared.web.openapi import with_example, with_page_of
from shared.web.pagination import Page

AUDIT: dict[str, Any] = {
    "id": 1,
    "event": 1,
    "status": "passed",
    "requested_at": "2026-11-22T18:00:00.000000Z",
    "finished_at": "2026-11-22T18:00:03.200000Z",
    "entries": 5012,
    "seconds": 1.2,
    "findings": [],
    "summary": "All 5,012 entries add up.",
}
AuditStatus = TypeAliasType(
    "AuditStatus", Literal["queued", "running", "passed", "failed", "error"]
)


class Audit(BaseModel):
    """An audit replays every decision of an event, and compares it with what is stored."""

    model_config = with_example(AUDIT)

    id: int = Field(ge=1, le=MAX_ID)
    event: int = Field(ge=1, le=MAX_ID)
    status: AuditStatus = Field(
        description="`failed`: it found something. `error`: it could not run."
    )
    requested_at: datetime
    finished_at: datetime | None
    entries: int | None = Field(ge=0, description="How many were replayed.")
    seconds: float | None = Field(ge=0, description="How long it took.")
    findings: list[str] = Field(max_length=20, description="The first of them, a sentence each.")
    summary: str = Field(description="The verdict in a sentence; empty until there is one.")


class AuditPage(Page[Audit]):
    """One page of audits, newest first."""

    model_config = with_page_of(AUDIT, "/api/events/1/audits/")
