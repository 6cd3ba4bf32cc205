"""Events over HTTP."""

from functools import partial
from operator import attrgetter
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema
from sqlalchemy import Select
from sqlalchemy.orm import Session

from catalog.dependencies import (
    Database,
    DefaultCurrency,
    ManagerId,
    ReaderId,
    SignedInRoute,
    Write,
)
from catalog.etags import check_if_match, etag_of
from catalog.events import schemas, store
from catalog.events.schemas import (
    EventCreate,
    EventPage,
    EventUpdate,
    NoticeUpdate,
    representation,
)
from catalog.list_pages import first_that_fit, in_pages_of, page_json, rows_that_fit
from catalog.responses import changing, creating, deleting, json_response, listing, reading
from catalog.rules import check_currency, check_order
from catalog.ticket_types.store import set_audit_user
from catalog.transactions import HAS_PURCHASES
from catalog.write_request import Find, Step, WriteRequest
from shared.database.once import once
from shared.database.tables import Event
from shared.errors import Conflict, InvalidInput, NotFound, Unavailable
from shared.moments import Moment
from shared.row_ids import MAX_ID, row_id
from shared.text import NO_NUL, Storable, folded
from shared.web.idempotency_key import IdempotencyKey
from shared.web.if_none_match import IfNoneMatch
from shared.web.openapi import ETAG, error_responses
from shared.web.pagination import CursorWanted, PageWanted, WantedPage
from shared.web.path_id import PathId

ME = "me"
# Each word is searched for in every event.
SEARCH_MAX_CHARACTERS = 200
SEARCH_MAX_WORDS = 10
TIMES = ("start_time", "end_time")
ENDS_TOO_EARLY = InvalidInput(errors={"end_time": ["Must be after start_time."]})
CHANGED = changing(ETAG, ENDS_TOO_EARLY)

router = APIRouter(
    prefix="/api/events",
    tags=["Events"],
    responses=error_responses(Unavailable),
    route_class=SignedInRoute,
)


def _few_words(text: str) -> str:
    # Counted after folding: one character may fold to several words (U+FDFA to four).
    if len(folded(text).split()) > SEARCH_MAX_WORDS:
        raise ValueError(f"Must have at most {SEARCH_MAX_WORDS} words.")
    return text


def _owner(text: str) -> str:
    if text != ME:
        try:
            row_id(text)
        except NotFound:
            raise ValueError('Must be "me" or the id of a user.') from None
    return text


SearchText = Annotated[
    str,
    StringConstraints(max_length=SEARCH_MAX_CHARACTERS),
    Storable,
    Field(json_schema_extra={"pattern": NO_NUL}),
    AfterValidator(_few_words),
]
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
    operation_id="events.list",
    response_model=EventPage,
    summary="List events",
    response_description="A page of events",
    responses=listing(InvalidInput(errors={"starts_after": ["Must be a time with its offset."]})),
)
async def list_events(
    user_id: ReaderId,
    database: Database,
    page: WantedPage,
    search: Annotated[
        SearchText,
        Query(
            description="Words that the title or the description contains, in any case of letters;"
            f" at most {SEARCH_MAX_WORDS}.",
        ),
    ] = "",
    owner: Annotated[OwnerFilter | None, Query(description="`me`, or a user's id.")] = None,
    starts_after: Annotated[
        Moment | None, Query(description="Only events that start after this time.")
    ] = None,
    ordering: Annotated[EventOrder, Query(description="`-` reverses the order.")] = "id",
) -> Response:
    """A page has fewer events where their descriptions are long: follow `next`."""
    owner_id = user_id if owner == ME else int(owner) if owner is not None else None
    wanted = store.matching(
        search=search, owner_id=owner_id, starts_after=starts_after, ordering=ordering
    )

    def read(session: Session) -> bytes:
        if isinstance(page, CursorWanted):
            return _page_after(session, wanted, ordering, page)
        return _page(session, wanted, page)

    run = database.search if search else database.list
    return Response(await run(user_id, read), media_type="application/json")


def _page(session: Session, wanted: Select[Event], page: PageWanted) -> bytes:
    count, answered, events = store.page(session, wanted, page)
    rows = [representation(event) for event in events]
    # Escaped in JSON, the texts may be longer.
    size = rows_that_fit(answered.offset(count), [len(row) for row in rows])
    if size < len(rows):
        answered = in_pages_of(answered, size)
    return page_json(answered.links(count), rows[:size])


def _page_after(
    session: Session, wanted: Select[Event], ordering: str, page: CursorWanted
) -> bytes:
    last = page.after(*store.key_of(ordering))
    found, last = store.page_after(session, wanted, ordering, last, page.size)
    rows = [representation(event) for _key, event in found]
    size = first_that_fit([len(row) for row in rows])
    if size < len(rows):
        last = found[size - 1][0]
    return page_json(page.links(last), rows[:size])


@router.post(
    "/",
    operation_id="events.create",
    status_code=201,
    response_model=schemas.Event,
    summary="Create an event",
    response_description="The new event",
    responses=creating(
        ETAG | {"Location": "/api/events/1/"},
        ENDS_TOO_EARLY,
        read="events.read",
        changes=("events.replace", "events.update", "events.delete", "events.set_notice"),
    ),
)
async def create_event(
    user_id: ManagerId,
    database: Database,
    body: EventCreate,
    default_currency: DefaultCurrency,
    key: IdempotencyKey,
) -> Response:
    """The caller becomes its owner."""
    check_order(TIMES, body.start_time, body.end_time)
    fields, keyed = _all_fields(body, default_currency), key.of(body)
    check_currency(fields["currency"])

    def create(session: Session) -> tuple[Event, bool]:
        def add() -> Event:
            event = Event(**fields, owner_id=user_id)
            session.add(event)
            session.flush()
            return event

        return once(session, keyed, add, partial(store.find, session), attrgetter("id"))

    event, is_replay = await database.write(user_id, None, create)
    location = f"/api/events/{event.id}/"
    return json_response(representation(event), status=201, location=location, is_replay=is_replay)


@router.get(
    "/{id}/",
    operation_id="events.read",
    response_model=schemas.Event,
    summary="Read an event",
    response_description="The event",
    responses=reading(ETAG),
)
async def read_event(
    user_id: ReaderId, database: Database, event_id: PathId, if_none_match: IfNoneMatch = None
) -> Response:
    """Of any owner."""
    event = await database.read(user_id, lambda session: store.find(session, event_id))
    return json_response(representation(event), if_none_match=if_none_match)


@router.put(
    "/{id}/",
    operation_id="events.replace",
    response_model=schemas.Event,
    summary="Replace an event",
    response_description="The event after the change",
    responses=CHANGED,
)
async def replace_event(
    write: Write, body: EventCreate, default_currency: DefaultCurrency
) -> Response:
    """Only its owner may. A field that is left out takes its default."""
    return await _change(write, _all_fields(body, default_currency))


@router.patch(
    "/{id}/",
    operation_id="events.update",
    response_model=schemas.Event,
    summary="Change an event",
    response_description="The event after the change",
    responses=CHANGED,
)
async def change_event(write: Write, body: EventUpdate) -> Response:
    """Only its owner may. A field that is left out keeps its value."""
    return await _change(write, body.model_dump(exclude_unset=True))


@router.put(
    "/{id}/notice/",
    operation_id="events.set_notice",
    response_model=schemas.Event,
    summary="Set the notice of an event",
    response_description="The event after the change",
    responses=changing(ETAG),
)
async def set_notice(write: Write, body: NoticeUpdate) -> Response:
    """Shown to all who wait or look at its sale, within a second. Only its owner may."""
    return await _change(write, {"notice": body.text})


def _all_fields(body: EventCreate, default_currency: str) -> dict[str, Any]:
    fields = body.model_dump()
    return fields | {"currency": fields["currency"] or default_currency}


async def _change(write: WriteRequest, changes: dict[str, Any]) -> Response:
    def check(_session: Session, event: Event) -> None:
        check_order(TIMES, *(changes.get(name, getattr(event, name)) for name in TIMES))
        check_currency(changes.get("currency", event.currency), event.currency)

    def apply(_session: Session, event: Event) -> None:
        for field, value in changes.items():
            setattr(event, field, value)

    event = await _write(write, check, apply)
    return json_response(representation(event))


@router.delete(
    "/{id}/",
    operation_id="events.delete",
    status_code=204,
    summary="Delete an event",
    response_description="The event was deleted",
    responses=deleting(),
)
async def delete_event(write: Write) -> None:
    """Deletes its ticket types too. Only its owner may, and only without any purchase."""

    def check(session: Session, event: Event) -> None:
        if store.has_purchases(session, event.id):
            raise Conflict(HAS_PURCHASES)

    def delete(session: Session, event: Event) -> None:
        set_audit_user(session, write.user_id)  # what is left of its ticket types is withdrawn
        session.delete(event)

    await _write(write, check, delete, lock=store.lock_for_deletion)


async def _write(
    write: WriteRequest,
    check: Step[Event],
    apply: Step[Event],
    lock: Find[Event] = store.lock,
) -> Event:
    def check_state(session: Session, event: Event) -> None:
        check_if_match(write.if_match, etag_of(representation(event)))
        check(session, event)

    event, _ = await write.change(
        lambda event: ("event", event.id),
        find=store.find,
        lock=lock,
        check=check_state,
        apply=apply,
    )
    return event
