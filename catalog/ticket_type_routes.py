"""Ticket types over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from catalog import ticket_type_store as store
from catalog.change_ticket_type import change, check_event, etag, lock_own, representation
from catalog.dependencies import Database, PathId, SignedInRoute, UserId
from catalog.etags import check_if_match, etag_of, is_unchanged
from catalog.openapi import ANY_OTHER, refusals
from catalog.rules import check_sale_window, issued_after_change
from catalog.schemas import CapacityChange, TicketTypeBody, TicketTypePatch, TicketTypeView
from catalog.ticket_type_store import StoredTicketType
from catalog.transactions import HAS_PURCHASES, transaction
from shared.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    PreconditionRequired,
)
from shared.models import TicketType
from shared.paging import Page, WantedPage
from shared.row_ids import MAX_ID

router = APIRouter(
    prefix="/api/ticket-types",
    tags=["Ticket types"],
    responses=ANY_OTHER,
    route_class=SignedInRoute,
)

IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", description="ETags of the states in which this may be done, or `*`."),
]
IfNoneMatch = Annotated[
    str | None, Header(alias="If-None-Match", description="ETags of what the client already has.")
]
EXAMPLE_ETAG = '"0123456789abcdef0123456789abcdef"'
ETAG = {"ETag": {"schema": {"type": "string"}, "example": EXAMPLE_ETAG}}
LOCATION = {"Location": {"schema": {"type": "string"}, "example": "/api/ticket-types/1/"}}
CHANGE_REFUSALS = refusals(
    InvalidInput, PermissionDenied, NotFound, Conflict, PreconditionFailed, PreconditionRequired
)


@router.get("/", summary="List ticket types", responses=refusals(InvalidInput, NotFound))
def list_ticket_types(
    _user_id: UserId,
    database: Database,
    page: WantedPage,
    event: Annotated[
        int | None, Query(ge=1, le=MAX_ID, description="Only those of this event.")
    ] = None,
) -> Page[TicketTypeView]:
    with transaction(database) as session:
        count, stored = store.page(session, store.matching(event), page)
    return page.page_of(
        count, [TicketTypeView.of(one.ticket_type, one.inventory) for one in stored]
    )


@router.post(
    "/",
    status_code=201,
    response_model=TicketTypeView,
    summary="Create a ticket type",
    responses=refusals(InvalidInput, PermissionDenied) | {201: {"headers": ETAG | LOCATION}},
)
def create_ticket_type(user_id: UserId, database: Database, body: TicketTypeBody) -> Response:
    """Only the event's owner may."""
    check_sale_window(body.sales_start, body.sales_end)
    with transaction(database) as session:
        check_event(session, body.event, user_id)
        store.sign_changes(session, user_id)
        ticket_type = TicketType(
            event_id=body.event, **body.model_dump(exclude={"event", "capacity"})
        )
        inventory = store.add(session, ticket_type, body.capacity)
    created = StoredTicketType(ticket_type, inventory, user_id)
    location = f"/api/ticket-types/{ticket_type.id}/"
    return _answer(created, status=201, headers={"Location": location})


@router.get(
    "/{id}/",
    response_model=TicketTypeView,
    summary="Read a ticket type",
    responses=refusals(NotFound)
    | {
        200: {"headers": ETAG},
        304: {"description": "It is as the client has it.", "headers": ETAG},
    },
)
def read_ticket_type(
    _user_id: UserId,
    database: Database,
    ticket_type_id: PathId,
    if_none_match: IfNoneMatch = None,
) -> Response:
    with transaction(database) as session:
        answer = _answer(store.find(session, ticket_type_id))
    current = answer.headers["ETag"]
    if is_unchanged(if_none_match, current):
        return Response(status_code=304, headers={"ETag": current})
    return answer


@router.put(
    "/{id}/",
    response_model=TicketTypeView,
    summary="Replace a ticket type",
    responses=CHANGE_REFUSALS | {200: {"headers": ETAG}},
)
def replace_ticket_type(
    user_id: UserId,
    database: Database,
    ticket_type_id: PathId,
    body: TicketTypeBody,
    if_match: IfMatch = None,
) -> Response:
    """Only the event's owner may. A field that is left out takes its default.

    It carries the capacity, so it needs `If-Match` once anything was sold or is queued.
    `event` cannot change any more once there was a purchase (409).
    """
    with transaction(database) as session:
        changed = change(session, user_id, ticket_type_id, body.model_dump(), if_match)
    return _answer(changed)


@router.patch(
    "/{id}/",
    response_model=TicketTypeView,
    summary="Change a ticket type",
    responses=CHANGE_REFUSALS | {200: {"headers": ETAG}},
)
def change_ticket_type(
    user_id: UserId,
    database: Database,
    ticket_type_id: PathId,
    body: TicketTypePatch,
    if_match: IfMatch = None,
) -> Response:
    """Only the event's owner may. A field that is left out stays as it is.

    With `capacity` it needs `If-Match` once anything was sold or is queued.
    `event` cannot change any more once there was a purchase (409).
    """
    with transaction(database) as session:
        changes = body.model_dump(exclude_unset=True)
        changed = change(session, user_id, ticket_type_id, changes, if_match)
    return _answer(changed)


@router.delete(
    "/{id}/",
    status_code=204,
    summary="Delete a ticket type",
    responses=refusals(PermissionDenied, NotFound, Conflict, PreconditionFailed),
)
def delete_ticket_type(
    user_id: UserId,
    database: Database,
    ticket_type_id: PathId,
    if_match: IfMatch = None,
) -> None:
    """Only the event's owner may, and not once there was any purchase of it."""
    with transaction(database) as session:
        stored = lock_own(session, user_id, ticket_type_id)
        check_if_match(if_match, etag(stored), required=False)
        if store.has_purchases(session, stored):
            raise Conflict(HAS_PURCHASES)
        session.delete(stored.ticket_type)


@router.post(
    "/{id}/capacity/",
    response_model=TicketTypeView,
    summary="Add or withdraw tickets",
    responses=refusals(InvalidInput, PermissionDenied, NotFound, PreconditionFailed)
    | {200: {"headers": ETAG}},
)
def change_capacity(
    user_id: UserId,
    database: Database,
    ticket_type_id: PathId,
    body: CapacityChange,
    if_match: IfMatch = None,
) -> Response:
    """Only the event's owner may; safe while the sale is running. It is recorded who did it."""
    with transaction(database) as session:
        stored = lock_own(session, user_id, ticket_type_id)
        check_if_match(if_match, etag(stored), required=False)
        store.sign_changes(session, user_id)
        stored.inventory.issued = issued_after_change(stored.stock, body.change)
    return _answer(stored)


def _answer(
    stored: StoredTicketType, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    body = representation(stored)
    all_headers = {"ETag": etag_of(body), **(headers or {})}
    return Response(body, status, all_headers, media_type="application/json")
