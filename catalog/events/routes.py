"""Events over HTTP."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator, WithJsonSchema
from sqlalchemy import Select
from sqlalchemy.orm import Session

from catalog.dependencies import Database, IfMatch, IfNoneMatch, PathId, SignedInRoute, UserId
from catalog.etags import check_if_match, etag_of, is_unchanged
from catalog.events import store as event_store
from catalog.pages import in_pages_of, page_json, rows_that_fit
from catalog.rules import check_event_times, check_owner
from catalog.schemas import (
    EventBody,
    EventPage,
    EventPatch,
    EventView,
    Moment,
    SearchText,
)
from catalog.transactions import HAS_PURCHASES
from shared.database.tables import Event
from shared.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    Unavailable,
)
from shared.row_ids import MAX_ID, row_id
from shared.text import folded
from shared.web.openapi import ETAG, headers, links_by_id, rate_limits, refusals, too_many
from shared.web.pagination import INVALID_PAGE, PageWanted, WantedPage

ME = "me"
SEARCH_MAX_WORDS = 10
ENDS_TOO_EARLY = InvalidInput(errors={"end_time": ["must be after start_time"]})
# The gateway holds these limits (gateway/rate_limits/of_catalog.py).
WRITES = rate_limits("catalog-writes")
LISTS = rate_limits("lists")
CREATED = {
    "headers": headers(ETAG | {"Location": "/api/events/1/"}, WRITES),
    "links": links_by_id("read_event")
    | links_by_id(
        "replace_event",
        "change_event",
        "delete_event",
        **{"header.If-Match": "$response.header.ETag"},
    )
    | {
        "create_ticket_type": {
            "operationId": "create_ticket_type",
            "requestBody": {"event": "$response.body#/id"},
        }
    },
}
CHANGED = refusals(
    ENDS_TOO_EARLY,
    PermissionDenied,
    NotFound,
    PreconditionFailed,
    too_many("catalog-writes"),
    sometimes=WRITES,
) | {200: {"headers": headers(ETAG, WRITES)}}

router = APIRouter(
    prefix="/api/events",
    tags=["Events"],
    responses=refusals(Unavailable),
    route_class=SignedInRoute,
)


def _few_words(text: str) -> str:
    # As it is searched: one character may fold to several words (U+FDFA to four).
    if len(folded(text).split()) > SEARCH_MAX_WORDS:
        raise ValueError(f"must have at most {SEARCH_MAX_WORDS} words")
    return text


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
        too_many("lists"),
        sometimes=LISTS,
    )
    | {200: {"headers": headers({}, LISTS)}},
)
async def list_events(
    user_id: UserId,
    database: Database,
    page: WantedPage,
    search: Annotated[
        SearchText,
        AfterValidator(_few_words),
        Query(
            description="Words that the title or the description has, in any case of letters;"
            f" at most {SEARCH_MAX_WORDS}.",
        ),
    ] = "",
    owner: Annotated[OwnerFilter | None, Query(description="`me`, or a user's id.")] = None,
    starts_after: Annotated[
        Moment | None, Query(description="Only events that start later than this.")
    ] = None,
    ordering: Annotated[EventOrder, Query(description="`-` reverses.")] = "id",
) -> Response:
    """A page has fewer events where their descriptions are long: follow `next`."""
    owner_id = user_id if owner == ME else int(owner) if owner is not None else None
    wanted = event_store.matching(
        search=search, owner_id=owner_id, starts_after=starts_after, ordering=ordering
    )

    def read(session: Session) -> bytes:
        return _page(session, wanted, page)

    if search:
        body = await database.search(user_id, read)
    else:
        body = await database.list(user_id, read)
    return Response(body, media_type="application/json")


def _page(session: Session, wanted: Select[Event], page: PageWanted) -> bytes:
    count, answered, events = event_store.page(session, wanted, page)
    rows = [_representation(event) for event in events]
    # JSON may have escaped much of the texts.
    size = rows_that_fit(answered.offset(count), [len(row) for row in rows])
    if size < len(rows):
        answered = in_pages_of(answered, size)
    return page_json(answered, count, rows[:size])


@router.post(
    "/",
    status_code=201,
    response_model=EventView,
    summary="Create an event",
    response_description="The new event",
    responses=refusals(ENDS_TOO_EARLY, too_many("catalog-writes"), sometimes=WRITES)
    | {201: CREATED},
)
async def create_event(user_id: UserId, database: Database, body: EventBody) -> Response:
    """The caller becomes its owner."""
    check_event_times(body.start_time, body.end_time)

    def create(session: Session) -> Event:
        event = Event(**body.model_dump(), owner_id=user_id)
        session.add(event)
        session.flush()
        return event

    event = await database.write(None, create)
    return _answer(event, status=201, headers={"Location": f"/api/events/{event.id}/"})


@router.get(
    "/{id}/",
    response_model=EventView,
    summary="Read an event",
    response_description="The event",
    responses=refusals(NotFound)
    | {
        200: {"headers": headers(ETAG)},
        304: {"description": "It is as the client has it", "headers": headers(ETAG)},
    },
)
async def read_event(
    _user_id: UserId, database: Database, event_id: PathId, if_none_match: IfNoneMatch = None
) -> Response:
    answer = _answer(await database.read(lambda session: event_store.find(session, event_id)))
    current = answer.headers["ETag"]
    if is_unchanged(if_none_match, current):
        return Response(status_code=304, headers={"ETag": current})
    return answer


@router.put(
    "/{id}/",
    response_model=EventView,
    summary="Replace an event",
    response_description="The event as it is now",
    responses=CHANGED,
)
async def replace_event(
    user_id: UserId,
    database: Database,
    event_id: PathId,
    body: EventBody,
    if_match: IfMatch = None,
) -> Response:
    """Only its owner may. A field that is left out takes its default."""
    return await _change_event(database, user_id, event_id, body.model_dump(), if_match)


@router.patch(
    "/{id}/",
    response_model=EventView,
    summary="Change an event",
    response_description="The event as it is now",
    responses=CHANGED,
)
async def change_event(
    user_id: UserId,
    database: Database,
    event_id: PathId,
    body: EventPatch,
    if_match: IfMatch = None,
) -> Response:
    """Only its owner may. A field that is left out stays as it is."""
    changes = body.model_dump(exclude_unset=True)
    return await _change_event(database, user_id, event_id, changes, if_match)


@router.delete(
    "/{id}/",
    status_code=204,
    summary="Delete an event",
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
async def delete_event(
    user_id: UserId, database: Database, event_id: PathId, if_match: IfMatch = None
) -> None:
    """Only its owner may, with its ticket types, and not once there was any purchase under it."""

    def check(session: Session, event: Event) -> None:
        check_owner(event.owner_id, user_id)
        check_if_match(if_match, _etag(event))
        if event_store.has_purchases(session, event_id):
            raise Conflict(HAS_PURCHASES)

    def delete(session: Session) -> None:
        event = event_store.lock(session, event_id)
        check(session, event)
        session.delete(event)

    await database.read(lambda session: check(session, event_store.find(session, event_id)))
    await database.write(("event", event_id), delete)


async def _change_event(
    database: Database,
    user_id: int,
    event_id: int,
    changes: dict[str, Any],
    if_match: str | None,
) -> Response:
    """Checked by a plain read first: who may not change it locks nothing."""

    def check(event: Event) -> None:
        check_owner(event.owner_id, user_id)
        check_if_match(if_match, _etag(event))
        check_event_times(
            changes.get("start_time", event.start_time), changes.get("end_time", event.end_time)
        )

    def change(session: Session) -> Event:
        event = event_store.lock(session, event_id)
        check(event)
        for field, value in changes.items():
            setattr(event, field, value)
        return event

    await database.read(lambda session: check(event_store.find(session, event_id)))
    return _answer(await database.write(("event", event_id), change))


def _representation(event: Event) -> bytes:
    return EventView.of(event).model_dump_json().encode()


def _etag(event: Event) -> str:
    return etag_of(_representation(event))


def _answer(event: Event, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    body = _representation(event)
    all_headers = {"ETag": etag_of(body), **(headers or {})}
    return Response(body, status, all_headers, media_type="application/json")
