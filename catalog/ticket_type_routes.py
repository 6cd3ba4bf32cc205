"""Ticket types over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from catalog import ticket_type_store as store
from catalog.change_ticket_type import change, check_event, etag, lock_own, representation
from catalog.dependencies import Database, PathId, SignedInRoute, UserId
from catalog.etags import check_if_match, etag_of, is_unchanged
from catalog.pause import pause, resume
from catalog.rules import check_sale_window, issued_after_change
from catalog.schemas import (
    CapacityChange,
    TicketTypeBody,
    TicketTypePage,
    TicketTypePatch,
    TicketTypeView,
)
from catalog.ticket_type_store import StoredTicketType
from catalog.transactions import HAS_PURCHASES, transaction
from shared.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    PreconditionRequired,
    Unavailable,
)
from shared.models import TicketType
from shared.openapi import headers, links_by_id, refusals
from shared.paging import INVALID_PAGE, Page, WantedPage
from shared.row_ids import NOT_AN_ID, QueryId

router = APIRouter(
    prefix="/api/ticket-types",
    tags=["Ticket types"],
    responses=refusals(Unavailable),
    route_class=SignedInRoute,
)

IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", description="ETags of the states in which this may be done, or `*`."),
]
IfNoneMatch = Annotated[
    str | None, Header(alias="If-None-Match", description="ETags of what the client already has.")
]
ETAG = {"ETag": '"0123456789abcdef0123456789abcdef"'}
UNKNOWN_EVENT = InvalidInput(errors={"event": ["There is no such event."]})
CREATED = {
    "headers": headers(ETAG | {"Location": "/api/ticket-types/1/"}),
    "links": links_by_id("read_ticket_type")
    | links_by_id(
        "replace_ticket_type",
        "change_ticket_type",
        "delete_ticket_type",
        "change_capacity",
        "pause_ticket_type",
        "resume_ticket_type",
        **{"header.If-Match": "$response.header.ETag"},
    )
    | {
        "buy": {
            "operationId": "buy",
            "requestBody": {"ticket_type": "$response.body#/id", "quantity": 1},
        }
    },
}
CHANGED = refusals(
    InvalidInput(errors={"sales_end": ["must be after sales_start"]}),
    PermissionDenied,
    NotFound,
    Conflict("It has purchases, so it stays with its event."),
    PreconditionFailed,
    PreconditionRequired,
) | {200: {"headers": headers(ETAG)}}

SWITCHED = refusals(PermissionDenied, NotFound, PreconditionFailed) | {
    200: {"headers": headers(ETAG)}
}


@router.get(
    "/",
    response_model=TicketTypePage,
    summary="List ticket types",
    response_description="A page of ticket types",
    responses=refusals(
        InvalidInput(errors={"event": [NOT_AN_ID]}),
        NotFound(INVALID_PAGE),
    ),
)
def list_ticket_types(
    _user_id: UserId,
    database: Database,
    page: WantedPage,
    event: Annotated[QueryId | None, Query(description="Only those of this event.")] = None,
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
    response_description="The new ticket type",
    responses=refusals(UNKNOWN_EVENT, PermissionDenied) | {201: CREATED},
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
    response_description="The ticket type",
    responses=refusals(NotFound)
    | {
        200: {"headers": headers(ETAG)},
        304: {"description": "It is as the client has it", "headers": headers(ETAG)},
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
    response_description="The ticket type as it is now",
    responses=CHANGED,
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
    response_description="The ticket type as it is now",
    responses=CHANGED,
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
    response_description="It is gone",
    responses=refusals(PermissionDenied, NotFound, Conflict(HAS_PURCHASES), PreconditionFailed),
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
    response_description="The ticket type as it is now",
    responses=refusals(
        InvalidInput(errors={"change": ["cannot withdraw 20 tickets: 5 are left"]}),
        PermissionDenied,
        NotFound,
        PreconditionFailed,
    )
    | {200: {"headers": headers(ETAG)}},
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


@router.post(
    "/{id}/pause/",
    response_model=TicketTypeView,
    summary="Pause the sale",
    response_description="The ticket type as it is now",
    responses=SWITCHED,
)
def pause_ticket_type(
    user_id: UserId,
    database: Database,
    ticket_type_id: PathId,
    if_match: IfMatch = None,
) -> Response:
    """Only the event's owner may. From the answer on, nothing is accepted: a purchase is refused
    with `sale_paused`. What was accepted before is decided all the same.

    Pausing again changes nothing, and is answered in the same way.
    """
    return _answer(pause(database, ticket_type_id, user_id, if_match))


@router.post(
    "/{id}/resume/",
    response_model=TicketTypeView,
    summary="Resume the sale",
    response_description="The ticket type as it is now",
    responses=SWITCHED,
)
def resume_ticket_type(
    user_id: UserId,
    database: Database,
    ticket_type_id: PathId,
    if_match: IfMatch = None,
) -> Response:
    """Only the event's owner may. Resuming what is not paused changes nothing."""
    return _answer(resume(database, ticket_type_id, user_id, if_match))


def _answer(
    stored: StoredTicketType, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    body = representation(stored)
    all_headers = {"ETag": etag_of(body), **(headers or {})}
    return Response(body, status, all_headers, media_type="application/json")
