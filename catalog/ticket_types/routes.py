"""Ticket types over HTTP."""

from collections.abc import Hashable
from dataclasses import replace
from functools import partial
from operator import attrgetter
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from sqlalchemy.orm import Session

from catalog.dependencies import (
    Database,
    ManagerId,
    ReaderId,
    SignedInRoute,
    Write,
)
from catalog.list_pages import page_json
from catalog.responses import (
    changing,
    changing_once,
    creating,
    deleting,
    json_response,
    listing,
    reading,
)
from catalog.rules import check_order
from catalog.ticket_types import change as use
from catalog.ticket_types import pause as sale
from catalog.ticket_types import store
from catalog.ticket_types.rules import SALE_WINDOW, issued_after_change
from catalog.ticket_types.schemas import (
    CapacityUpdate,
    TicketType,
    TicketTypeCreate,
    TicketTypePage,
    TicketTypeUpdate,
    etag,
    representation,
)
from catalog.ticket_types.store import StoredTicketType
from catalog.transactions import RowLocked
from catalog.write_request import Apply, Find, Step, WriteRequest
from shared.database.once import earlier, once
from shared.errors import (
    Conflict,
    InvalidInput,
    PermissionDenied,
    PreconditionRequired,
    Unavailable,
)
from shared.row_ids import NOT_AN_ID, QueryId
from shared.web.cursors import Id
from shared.web.idempotency_key import IdempotencyKey, RequestKey
from shared.web.if_none_match import IfNoneMatch
from shared.web.openapi import error_responses
from shared.web.pagination import CursorWanted, WantedPage
from shared.web.path_id import PathId

router = APIRouter(
    prefix="/api/ticket-types",
    tags=["Ticket types"],
    responses=error_responses(Unavailable),
    route_class=SignedInRoute,
)

ETAG = {"ETag": '"0123456789abcdef0123456789abcdef.2.5"'}
UNKNOWN_EVENT = InvalidInput(errors={"event": ["There is no such event."]})
CHANGED = changing(
    ETAG,
    InvalidInput(errors={"sales_end": ["Must be after sales_start."]}),
    Conflict("It has purchases, so it stays with its event."),
    PreconditionRequired,
)


@router.get(
    "/",
    operation_id="ticket_types.list",
    response_model=TicketTypePage,
    summary="List ticket types",
    response_description="A page of ticket types",
    responses=listing(InvalidInput(errors={"event": [NOT_AN_ID]})),
)
async def list_ticket_types(
    user_id: ReaderId,
    database: Database,
    page: WantedPage,
    event: Annotated[QueryId | None, Query(description="Only those of this event.")] = None,
) -> Response:
    """Of all events, or of one."""

    def read(session: Session) -> bytes:
        if isinstance(page, CursorWanted):
            (last,) = page.after(Id) or (None,)
            stored = store.page_after(session, event, last, page.size + 1)
            more = len(stored) > page.size
            links = page.links((stored[page.size - 1].ticket_type.id,) if more else None)
        else:
            count, stored = store.page(session, event, page)
            links = page.links(count)
        return page_json(links, [representation(one) for one in stored[: page.size]])

    return Response(await database.list(user_id, read), media_type="application/json")


@router.post(
    "/",
    operation_id="ticket_types.create",
    status_code=201,
    response_model=TicketType,
    summary="Create a ticket type",
    response_description="The new ticket type",
    responses=creating(
        ETAG | {"Location": "/api/ticket-types/1/"},
        *(UNKNOWN_EVENT, PermissionDenied),
        read="ticket_types.read",
        changes=(
            *("ticket_types.replace", "ticket_types.update", "ticket_types.delete"),
            *("ticket_types.change_capacity", "ticket_types.pause", "ticket_types.resume"),
        ),
    ),
)
async def create_ticket_type(
    user_id: ManagerId, database: Database, body: TicketTypeCreate, key: IdempotencyKey
) -> Response:
    """Only the event's owner may."""
    check_order(SALE_WINDOW, body.sales_start, body.sales_end)
    keyed = key.of(body)

    def check(session: Session) -> None:
        if keyed is None or earlier(session, keyed) is None:
            use.check_event(session, body.event, user_id)

    def create(session: Session) -> tuple[StoredTicketType, bool]:
        return once(
            session,
            keyed,
            lambda: use.create(session, user_id, body.model_dump()),
            partial(store.find, session),
            attrgetter("ticket_type.id"),
        )

    await database.read(user_id, check)
    created, is_replay = await database.write(user_id, _lane(body.event), create)
    location = f"/api/ticket-types/{created.ticket_type.id}/"
    return _response(created, status=201, location=location, is_replay=is_replay)


@router.get(
    "/{id}/",
    operation_id="ticket_types.read",
    response_model=TicketType,
    summary="Read a ticket type",
    response_description="The ticket type",
    responses=reading(ETAG),
)
async def read_ticket_type(
    user_id: ReaderId,
    database: Database,
    ticket_type_id: PathId,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """With how many are left."""
    stored = await database.read(user_id, lambda session: store.find(session, ticket_type_id))
    return _response(stored, if_none_match=if_none_match)


@router.put(
    "/{id}/",
    operation_id="ticket_types.replace",
    response_model=TicketType,
    summary="Replace a ticket type",
    response_description="The ticket type after the change",
    responses=CHANGED,
)
async def replace_ticket_type(write: Write, body: TicketTypeCreate) -> Response:
    """Only the event's owner may. A field that is left out takes its default.

    It contains the capacity, so it requires `If-Match` once any ticket is sold, held or queued.
    `event` cannot change once there was a purchase (409).
    """
    return await _change(write, body.model_dump())


@router.patch(
    "/{id}/",
    operation_id="ticket_types.update",
    response_model=TicketType,
    summary="Change a ticket type",
    response_description="The ticket type after the change",
    responses=CHANGED,
)
async def change_ticket_type(write: Write, body: TicketTypeUpdate) -> Response:
    """Only the event's owner may. A field that is left out keeps its value.

    With `capacity` it requires `If-Match` once any ticket is sold, held or queued.
    `event` cannot change once there was a purchase (409).
    """
    return await _change(write, body.model_dump(exclude_unset=True))


async def _change(write: WriteRequest, changes: use.Fields) -> Response:
    return await _write(
        write,
        lambda session, stored: use.check_change(session, stored, changes, write.if_match),
        lambda session, stored: use.change(session, stored, changes, write.user_id),
        lock=lambda session, id_: use.lock_for_change(session, id_, changes),
    )


@router.delete(
    "/{id}/",
    operation_id="ticket_types.delete",
    status_code=204,
    summary="Delete a ticket type",
    response_description="The ticket type was deleted",
    responses=deleting(),
)
async def delete_ticket_type(write: Write) -> None:
    """Only the event's owner may, and only without any purchase."""

    def check(session: Session, stored: StoredTicketType) -> None:
        use.check_state(stored, write.if_match)
        use.check_deletable(session, stored)

    await _write(write, check, lambda session, stored: use.delete(session, stored, write.user_id))


@router.post(
    "/{id}/capacity/",
    operation_id="ticket_types.change_capacity",
    response_model=TicketType,
    summary="Add or withdraw tickets",
    response_description="The ticket type after the change",
    responses=changing_once(
        ETAG, InvalidInput(errors={"change": ["Cannot withdraw 20 tickets: 5 are left."]})
    ),
)
async def change_capacity(write: Write, body: CapacityUpdate, key: IdempotencyKey) -> Response:
    """Only the event's owner may, also during the sale. The change and the user are recorded.

    Send an `Idempotency-Key`: without one, a retry changes it once more.
    """

    def check(_session: Session, stored: StoredTicketType) -> None:
        use.check_state(stored, write.if_match)
        issued_after_change(stored.stock, body.change)

    return await _write(
        replace(write, keyed=key.of(body)),
        check,
        lambda session, stored: use.change_capacity(session, stored, body.change, write.user_id),
    )


@router.post(
    "/{id}/pause/",
    operation_id="ticket_types.pause",
    response_model=TicketType,
    summary="Pause the sale",
    response_description="The paused ticket type",
    responses=changing_once(ETAG),
)
async def pause_ticket_type(write: Write, key: IdempotencyKey) -> Response:
    """Only the event's owner may. After the response, no purchase is accepted: it is answered with
    `sale_paused`. What was accepted before is still decided. `paused_at` is `null` if somebody
    resumed the sale meanwhile.

    Pausing again changes nothing and has the same response.
    """
    paused, is_replay = await _switch(write, key, paused=True)
    if paused.ticket_type.paused_at is not None:  # else replayed, and resumed since
        try:
            paused = await write.database.write(
                write.user_id,
                _terms(write.id),
                lambda session: sale.await_accepted(session, write.id),
            )
        except RowLocked:
            paused = await write.database.read(
                write.user_id, lambda session: sale.check_resumed(session, write.id)
            )
    return _response(paused, is_replay=is_replay)


@router.post(
    "/{id}/resume/",
    operation_id="ticket_types.resume",
    response_model=TicketType,
    summary="Resume the sale",
    response_description="The resumed ticket type",
    responses=changing_once(ETAG),
)
async def resume_ticket_type(write: Write, key: IdempotencyKey) -> Response:
    """Only the event's owner may. Resuming a sale that is not paused changes nothing."""
    resumed, is_replay = await _switch(write, key, paused=False)
    return _response(resumed, is_replay=is_replay)


async def _switch(
    write: WriteRequest, key: RequestKey, *, paused: bool
) -> tuple[StoredTicketType, bool]:
    return await replace(write, keyed=key.of()).change(
        lambda stored: _terms(stored.ticket_type.id),
        find=store.find,
        lock=store.lock_terms,
        check=lambda _session, stored: use.check_state(stored, write.if_match),
        apply=lambda session, stored: sale.switch(
            session, stored, paused=paused, user_id=write.user_id
        ),
    )


async def _write(
    write: WriteRequest,
    check: Step[StoredTicketType],
    apply: Apply[StoredTicketType],
    *,
    lock: Find[StoredTicketType] = store.lock,
) -> Response:
    changed, is_replay = await write.change(
        lambda stored: _lane(stored.ticket_type.event_id),
        find=store.find,
        lock=lock,
        check=check,
        apply=apply,
    )
    return _response(changed, is_replay=is_replay)


def _lane(event_id: int) -> Hashable:
    return "lane", event_id


def _terms(ticket_type_id: int) -> Hashable:
    return "terms", ticket_type_id


def _response(stored: StoredTicketType, **more: Any) -> Response:
    return json_response(representation(stored), etag=etag(stored), **more)
