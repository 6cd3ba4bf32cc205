"""Events over HTTP."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator, WithJsonSchema
from sqlalchemy import Engine

from catalog import event_store
from catalog.dependencies import Database, PathId, SignedInRoute, UserId
from catalog.rules import check_event_times, check_owner
from catalog.schemas import (
    EventBody,
    EventPage,
    EventPatch,
    EventView,
    Moment,
    SearchText,
)
from catalog.transactions import HAS_PURCHASES, transaction
from shared.errors import Conflict, InvalidInput, NotFound, PermissionDenied, Unavailable
from shared.models import Event
from shared.openapi import headers, links_by_id, refusals
from shared.paging import INVALID_PAGE, Page, WantedPage
from shared.row_ids import MAX_ID, row_id

ME = "me"
# Longer searches only cost: each word of them is looked for in every event.
SEARCH_MAX_CHARACTERS = 200
ENDS_TOO_EARLY = InvalidInput(errors={"end_time": ["must be after start_time"]})
CREATED = {
    "headers": headers({"Location": "/api/events/1/"}),
    "links": links_by_id("read_event", "replace_event", "change_event", "delete_event")
    | {
        "create_ticket_type": {
            "operationId": "create_ticket_type",
            "requestBody": {"event": "$response.body#/id"},
        }
    },
}

router = APIRouter(
    prefix="/api/events",
    tags=["Events"],
    responses=refusals(Unavailable),
    route_class=SignedInRoute,
)


def _owner(text: str) -> str:
    if text != ME:
        try:
            row_id(text)
        except NotFound:
            raise ValueError('must be "me" or the id of a user') from None
    return text


OwnerFilter = Annotated[
    str,
    AfterValidator(_owner),
    WithJsonSchema(
        {"anyOf": [{"const": ME}, {"type": "integer", "minimum": 1, "maximum": MAX_ID}]}
    ),
]
EventOrder = Literal[
    "start_time", "-start_time", "end_time", "-end_time", "title", "-title", "id", "-id"
]


@router.get(
    "/",
    response_model=EventPage,
    summary="List events",
    response_description="A page of events",
    responses=refusals(
        InvalidInput(errors={"starts_after": ["must be a time with its offset"]}),
        NotFound(INVALID_PAGE),
    ),
)
def list_events(
    user_id: UserId,
    database: Database,
    page: WantedPage,
    search: Annotated[
        SearchText,
        Query(
            max_length=SEARCH_MAX_CHARACTERS,
            description="Words that the title or the description has, in any case of letters.",
        ),
    ] = "",
    owner: Annotated[OwnerFilter | None, Query(description="`me`, or a user's id.")] = None,
    starts_after: Annotated[
        Moment | None, Query(description="Only events that start later than this.")
    ] = None,
    ordering: Annotated[EventOrder, Query(description="`-` reverses.")] = "id",
) -> Page[EventView]:
    owner_id = user_id if owner == ME else int(owner) if owner is not None else None
    wanted = event_store.matching(
        search=search, owner_id=owner_id, starts_after=starts_after, ordering=ordering
    )
    with transaction(database) as session:
        count, events = event_store.page(session, wanted, page)
    return page.page_of(count, [EventView.of(event) for event in events])


@router.post(
    "/",
    status_code=201,
    summary="Create an event",
    response_description="The new event",
    responses=refusals(ENDS_TOO_EARLY) | {201: CREATED},
)
def create_event(
    user_id: UserId, database: Database, body: EventBody, response: Response
) -> EventView:
    """The caller becomes its owner."""
    check_event_times(body.start_time, body.end_time)
    with transaction(database) as session:
        event = Event(**body.model_dump(), owner_id=user_id)
        session.add(event)
    response.headers["Location"] = f"/api/events/{event.id}/"
    return EventView.of(event)


@router.get(
    "/{id}/",
    summary="Read an event",
    response_description="The event",
    responses=refusals(NotFound),
)
def read_event(_user_id: UserId, database: Database, event_id: PathId) -> EventView:
    with transaction(database) as session:
        return EventView.of(event_store.find(session, event_id))


@router.put(
    "/{id}/",
    summary="Replace an event",
    response_description="The event as it is now",
    responses=refusals(ENDS_TOO_EARLY, PermissionDenied, NotFound),
)
def replace_event(
    user_id: UserId, database: Database, event_id: PathId, body: EventBody
) -> EventView:
    """Only its owner may. A field that is left out takes its default."""
    return _change_event(database, user_id, event_id, body.model_dump())


@router.patch(
    "/{id}/",
    summary="Change an event",
    response_description="The event as it is now",
    responses=refusals(ENDS_TOO_EARLY, PermissionDenied, NotFound),
)
def change_event(
    user_id: UserId, database: Database, event_id: PathId, body: EventPatch
) -> EventView:
    """Only its owner may. A field that is left out stays as it is."""
    return _change_event(database, user_id, event_id, body.model_dump(exclude_unset=True))


@router.delete(
    "/{id}/",
    status_code=204,
    summary="Delete an event",
    response_description="It is gone",
    responses=refusals(PermissionDenied, NotFound, Conflict(HAS_PURCHASES)),
)
def delete_event(user_id: UserId, database: Database, event_id: PathId) -> None:
    """Only its owner may, with its ticket types, and not once there was any purchase under it."""
    with transaction(database) as session:
        event = event_store.lock(session, event_id)
        check_owner(event.owner_id, user_id)
        if event_store.has_purchases(session, event_id):
            raise Conflict(HAS_PURCHASES)
        session.delete(event)


def _change_event(
    database: Engine, user_id: int, event_id: int, changes: dict[str, Any]
) -> EventView:
    with transaction(database) as session:
        event = event_store.lock(session, event_id)
        check_owner(event.owner_id, user_id)
        for field, value in changes.items():
            setattr(event, field, value)
        check_event_times(event.start_time, event.end_time)
    return EventView.of(event)
