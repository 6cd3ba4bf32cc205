"""Ticket types over HTTP."""

from collections.abc import Hashable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from sqlalchemy.orm import Session

from catalog.dependencies import Database, IfMatch, IfNoneMatch, PathId, SignedInRoute, UserId
from catalog.etags import is_unchanged
from catalog.pages import page_json
from catalog.rules import check_sale_window
from catalog.schemas import (
    CapacityChange,
    TicketTypeBody,
    TicketTypePage,
    TicketTypePatch,
    TicketTypeView,
)
from catalog.ticket_types import change as use
from catalog.ticket_types import store
from catalog.ticket_types.pause import await_accepted, check_switch, switch
from catalog.ticket_types.store import StoredTicketType
from catalog.transactions import HAS_PURCHASES
from shared.database.tables import TicketType
from shared.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    PreconditionRequired,
    Unavailable,
)
from shared.row_ids import NOT_AN_ID, QueryId
from shared.web.openapi import headers, links_by_id, rate_limits, refusals, too_many
from shared.web.pagination import INVALID_PAGE, WantedPage

router = APIRouter(
    prefix="/api/ticket-types",
    tags=["Ticket types"],
    responses=refusals(Unavailable),
    route_class=SignedInRoute,
)

ETAG = {"ETag": '"0123456789abcdef0123456789abcdef.5"'}
UNKNOWN_EVENT = InvalidInput(errors={"event": ["There is no such event."]})
# The gateway holds these limits (gateway/rate_limits/of_catalog.py).
WRITES = rate_limits("catalog-writes")
LISTS = rate_limits("lists")
CREATED = {
    "headers": headers(ETAG | {"Location": "/api/ticket-types/1/"}, WRITES),
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
    too_many("catalog-writes"),
    sometimes=WRITES,
) | {200: {"headers": headers(ETAG, WRITES)}}

SWITCHED = refusals(
    PermissionDenied,
    NotFound,
    PreconditionFailed,
    too_many("catalog-writes"),
    sometimes=WRITES,
) | {200: {"headers": headers(ETAG, WRITES)}}


@router.get(
    "/",
    response_model=TicketTypePage,
    summary="List ticket types",
    response_description="A page of ticket types",
    responses=refusals(
        InvalidInput(errors={"event": [NOT_AN_ID]}),
        NotFound(INVALID_PAGE),
        too_many("lists"),
        sometimes=LISTS,
    )
    | {200: {"headers": headers({}, LISTS)}},
)
async def list_ticket_types(
    user_id: UserId,
    database: Database,
    page: WantedPage,
    event: Annotated[QueryId | None, Query(description="Only those of this event.")] = None,
) -> Response:
    def read(session: Session) -> bytes:
        count, stored = store.page(session, store.matching(event), page)
        return page_json(page, count, [use.representation(one) for one in stored])

    return Response(await database.list(user_id, read), media_type="application/json")


@router.post(
    "/",
    status_code=201,
    response_model=TicketTypeView,
    summary="Create a ticket type",
    response_description="The new ticket type",
    responses=refusals(
        UNKNOWN_EVENT, PermissionDenied, too_many("catalog-writes"), sometimes=WRITES
    )
    | {201: CREATED},
)
async def create_ticket_type(user_id: UserId, database: Database, body: TicketTypeBody) -> Response:
    """Only the event's owner may."""
    check_sale_window(body.sales_start, body.sales_end)

    def create(session: Session) -> StoredTicketType:
        use.check_event(session, body.event, user_id)
        store.set_audit_user(session, user_id)
        ticket_type = TicketType(
            event_id=body.event, **body.model_dump(exclude={"event", "capacity"})
        )
        inventory = store.add(session, ticket_type, body.capacity)
        session.flush()
        return StoredTicketType(ticket_type, inventory, user_id)

    await database.read(lambda session: use.check_event(session, body.event, user_id))
    created = await database.write(("event", body.event), create)
    location = f"/api/ticket-types/{created.ticket_type.id}/"
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
async def read_ticket_type(
    _user_id: UserId,
    database: Database,
    ticket_type_id: PathId,
    if_none_match: IfNoneMatch = None,
) -> Response:
    answer = _answer(await database.read(lambda session: store.find(session, ticket_type_id)))
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
async def replace_ticket_type(
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
    return await _change(database, user_id, ticket_type_id, body.model_dump(), if_match)


@router.patch(
    "/{id}/",
    response_model=TicketTypeView,
    summary="Change a ticket type",
    response_description="The ticket type as it is now",
    responses=CHANGED,
)
async def change_ticket_type(
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
    changes = body.model_dump(exclude_unset=True)
    return await _change(database, user_id, ticket_type_id, changes, if_match)


async def _change(
    database: Database,
    user_id: int,
    ticket_type_id: int,
    changes: dict[str, Any],
    if_match: str | None,
) -> Response:
    asked = (user_id, ticket_type_id, changes, if_match)
    await database.read(lambda session: use.check_change(session, *asked))
    changed = await database.write(
        _row(ticket_type_id), lambda session: use.change(session, *asked)
    )
    return _answer(changed)


@router.delete(
    "/{id}/",
    status_code=204,
    summary="Delete a ticket type",
    response_description="It is gone",
    responses=refusals(
        PermissionDenied,
        NotFound,
        Conflict(HAS_PURCHASES),
        PreconditionFailed,
        too_many("catalog-writes"),
        sometimes=WRITES,
    )
    | {204: {"headers": headers({}, WRITES)}},
)
async def delete_ticket_type(
    user_id: UserId,
    database: Database,
    ticket_type_id: PathId,
    if_match: IfMatch = None,
) -> None:
    """Only the event's owner may, and not once there was any purchase of it."""
    asked = (user_id, ticket_type_id, if_match)
    await database.read(lambda session: use.check_delete(session, *asked))
    await database.write(_row(ticket_type_id), lambda session: use.delete(session, *asked))


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
        too_many("catalog-writes"),
        sometimes=WRITES,
    )
    | {200: {"headers": headers(ETAG, WRITES)}},
)
async def change_capacity(
    user_id: UserId,
    database: Database,
    ticket_type_id: PathId,
    body: CapacityChange,
    if_match: IfMatch = None,
) -> Response:
    """Only the event's owner may; safe while the sale is running. It is recorded who did it."""
    asked = (user_id, ticket_type_id, body.change, if_match)
    await database.read(lambda session: use.check_capacity_change(session, *asked))
    changed = await database.write(
        _row(ticket_type_id), lambda session: use.change_capacity(session, *asked)
    )
    return _answer(changed)


@router.post(
    "/{id}/pause/",
    response_model=TicketTypeView,
    summary="Pause the sale",
    response_description="The ticket type as it is now",
    responses=SWITCHED,
)
async def pause_ticket_type(
    user_id: UserId,
    database: Database,
    ticket_type_id: PathId,
    if_match: IfMatch = None,
) -> Response:
    """Only the event's owner may. From the answer on, nothing is accepted: a purchase is refused
    with `sale_paused`. What was accepted before is decided all the same.

    Pausing again changes nothing, and is answered in the same way.
    """
    await _switch(database, user_id, ticket_type_id, if_match, paused=True)
    paused = await database.write(
        _row(ticket_type_id), lambda session: await_accepted(session, ticket_type_id)
    )
    return _answer(paused)


@router.post(
    "/{id}/resume/",
    response_model=TicketTypeView,
    summary="Resume the sale",
    response_description="The ticket type as it is now",
    responses=SWITCHED,
)
async def resume_ticket_type(
    user_id: UserId,
    database: Database,
    ticket_type_id: PathId,
    if_match: IfMatch = None,
) -> Response:
    """Only the event's owner may. Resuming what is not paused changes nothing."""
    return _answer(await _switch(database, user_id, ticket_type_id, if_match, paused=False))


async def _switch(
    database: Database,
    user_id: int,
    ticket_type_id: int,
    if_match: str | None,
    *,
    paused: bool,
) -> StoredTicketType:
    await database.read(lambda session: check_switch(session, user_id, ticket_type_id, if_match))
    return await database.write(
        _row(ticket_type_id),
        lambda session: switch(
            session, ticket_type_id, paused=paused, user_id=user_id, if_match=if_match
        ),
    )


def _row(ticket_type_id: int) -> Hashable:
    """Whose turn it is, among those that write."""
    return ("ticket type", ticket_type_id)


def _answer(
    stored: StoredTicketType, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    all_headers = {"ETag": use.etag(stored), **(headers or {})}
    return Response(use.representation(stored), status, all_headers, media_type="application/json")
