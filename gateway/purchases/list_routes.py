"""The list of a user's purchases, or for its owner of an event's, newest first."""

from collections.abc import Callable
from typing import Annotated, Any, ParamSpec, TypeVar
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, WithJsonSchema
from sqlalchemy import Engine

from gateway.payment_reference import PaymentReference
from gateway.purchases import read
from gateway.purchases.list_by_cursor import list_by_cursor
from gateway.purchases.look_up import PurchaseLookUp
from gateway.purchases.openapi import BUYER, LIST_RESPONSES, PurchaseStatus
from gateway.purchases.read import FILTERED_ROWS, Filter
from gateway.purchases.request_body import BUYER_FORM, is_buyer
from gateway.rate_limits.by_user import UserLimit
from shared.concurrency.bounded_executor import BoundedExecutor
from shared.concurrency.keyed_limit import Turns
from shared.config.settings import Settings
from shared.database.engine import DATABASE_UNAVAILABLE
from shared.errors import InvalidInput, Unavailable, on_problem
from shared.row_ids import QueryId
from shared.web.authentication import AuthenticatedRoute, Reader
from shared.web.pagination import CursorWanted, PageWanted, WantedPage

P = ParamSpec("P")
T = TypeVar("T")

# Lists are rare; when this many wait, something is wrong, and they are the first to fail.
WAITING_MAX = 200
# Of one user; browsers ask for six things at a time.
WAITING_OF_USER_MAX = 30

router = APIRouter(tags=["Purchases"], route_class=AuthenticatedRoute)


def _buyer(text: str) -> str:
    if not is_buyer(text):
        raise ValueError(BUYER_FORM)
    return text


BuyerFilter = Annotated[str, AfterValidator(_buyer), WithJsonSchema(BUYER)]


class PurchaseLists:
    """Reads pages of purchases in threads of its own."""

    def __init__(self, settings: Settings, engine: Engine, look_up: PurchaseLookUp) -> None:
        self._engine = engine
        self._look_up = look_up
        self._position_max_rows = settings.position_max_rows
        self._threads = BoundedExecutor(
            "list",
            threads=settings.list_threads,
            waiting_max=WAITING_MAX,
            timeout_seconds=settings.answer_timeout_seconds,
        )
        self._turns = Turns(
            1, waiting_max=WAITING_OF_USER_MAX, wait_seconds=settings.answer_timeout_seconds
        )

    async def page(self, wanted: Filter, page: PageWanted | CursorWanted) -> dict[str, Any]:
        """A page of a user's purchases, or for its owner of an event's.

        Raises:
            NotFound: the page is beyond the end; or as `list_by_cursor`.
            PermissionDenied, InvalidInput: as `list_by_cursor`.
            Unavailable: the database is unavailable, or too many lists are being read.
        """
        if isinstance(page, PageWanted):
            count, found = await self._read(
                wanted.user_id,
                read.list_of_user,
                self._engine,
                wanted,
                page.offset,
                page.size,
                position_max_rows=self._position_max_rows,
            )
            links = page.links(count)
        else:
            (before,) = page.after(UUID) or (None,)
            found, last = await self._read(
                wanted.user_id,
                list_by_cursor,
                self._engine,
                wanted,
                None if before is None else str(before),
                page.size,
                position_max_rows=self._position_max_rows,
            )
            links = page.links(None if last is None else (last,))
        return links | {"results": [self._look_up.body(row) for row in found]}

    async def _read(
        self, user_id: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Of one user one page is read at a time."""
        try:
            async with self._turns.of(user_id):
                return await self._threads.run_for(str(user_id), function, *args, **kwargs)
        except DATABASE_UNAVAILABLE as error:
            raise Unavailable("Temporarily unavailable; nothing is lost, retry.") from error

    def close(self) -> None:
        self._threads.close()


@router.get(
    "/api/ticket-purchases/",
    operation_id="purchases.list",
    summary="List your purchases, or those of your event, newest first",
    response_description="A page of purchases",
    response_class=JSONResponse,
    responses=LIST_RESPONSES,
)
async def list_purchases(
    request: Request,
    caller: Reader,
    page: WantedPage,
    event: Annotated[
        QueryId | None,
        Query(description="For its owner: all purchases of this event, instead of your own."),
    ] = None,
    payment_reference: Annotated[
        PaymentReference | None,
        Query(description="With `event`: only the purchase that this payment confirmed."),
    ] = None,
    status: Annotated[
        PurchaseStatus | None,
        Query(
            description="Only purchases with this status. By page, those among your newest"
            f" {FILTERED_ROWS:,} requests."
        ),
    ] = None,
    ticket_type: Annotated[
        QueryId | None, Query(description="Only purchases of this ticket type.")
    ] = None,
    buyer: Annotated[
        BuyerFilter | None, Query(description="Only purchases for this buyer.")
    ] = None,
) -> Response:
    """With `event`, for its owner, always by cursor: no purchase is missed or comes twice while
    others are sold. A page of a filter may then have few purchases or none before the end.
    """
    if event is None and payment_reference is not None:
        raise InvalidInput(errors={"payment_reference": ["Send `event`, too."]})
    if event is not None and isinstance(page, PageWanted):
        if "page" in request.query_params:
            raise InvalidInput(errors={"page": ["With `event`, follow `next`."]})
        page = page.by_cursor()
    lists: PurchaseLists = request.app.state.purchase_lists
    limit: UserLimit = request.app.state.list_limit
    headers = await limit.draw(caller.user_id)
    with on_problem(add=headers):
        wanted = Filter(caller.user_id, status, ticket_type, buyer, event, payment_reference)
        body = await lists.page(wanted, page)
    return Response(msgspec.json.encode(body), headers=headers, media_type="application/json")
