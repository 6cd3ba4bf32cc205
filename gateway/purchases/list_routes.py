"""The list of a user's purchases, newest first."""

from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, WithJsonSchema
from sqlalchemy import Engine

from gateway.purchases import read
from gateway.purchases.look_up import PurchaseLookUp
from gateway.purchases.openapi import BUYER, LIST_RESPONSES
from gateway.purchases.read import Filter
from gateway.purchases.request_body import BUYER_FORM, is_buyer
from gateway.rate_limits.by_user import UserLimit
from shared.concurrency.bounded_executor import BoundedExecutor
from shared.concurrency.keyed_limit import Turns
from shared.config.settings import Settings
from shared.database.engine import DATABASE_UNAVAILABLE
from shared.errors import Problem, Unavailable
from shared.row_ids import QueryId
from shared.web.authentication import AuthenticatedRoute, Reader
from shared.web.pagination import Page, WantedPage

# Lists are rare; when this many wait, something is wrong, and they are the first to fail.
WAITING_MAX = 200
# Of one user; browsers ask for six things at a time.
WAITING_OF_USER_MAX = 30

Status = Literal["queued", "held", "confirmed", "rejected", "released", "expired", "cancelled"]

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

    async def page(self, wanted: Filter, page: WantedPage) -> Page[object]:
        """A page of a user's purchases; of one user one is read at a time.

        Raises:
            NotFound: the page is beyond the end.
            Unavailable: the database is unavailable, or too many lists are being read.
        """
        try:
            async with self._turns.of(wanted.user_id):
                count, found = await self._threads.run(
                    read.list_of_user,
                    self._engine,
                    wanted,
                    page.offset,
                    page.size,
                    position_max_rows=self._position_max_rows,
                )
        except DATABASE_UNAVAILABLE as error:
            raise Unavailable("Temporarily unavailable; nothing is lost, retry.") from error
        return page.page_of(count, [self._look_up.body(row) for row in found])

    def close(self) -> None:
        self._threads.close()


@router.get(
    "/api/ticket-purchases/",
    summary="List your purchases, newest first",
    response_description="A page of purchases",
    response_class=JSONResponse,
    responses=LIST_RESPONSES,
)
async def list_purchases(
    request: Request,
    caller: Reader,
    page: WantedPage,
    status: Annotated[
        Status | None,
        Query(description="Only purchases with this status."),
    ] = None,
    ticket_type: Annotated[
        QueryId | None, Query(description="Only purchases of this ticket type.")
    ] = None,
    buyer: Annotated[
        BuyerFilter | None, Query(description="Only purchases for this buyer.")
    ] = None,
) -> Response:
    lists: PurchaseLists = request.app.state.purchase_lists
    limit: UserLimit = request.app.state.list_limit
    headers = await limit.draw(caller.user_id)
    wanted = Filter(caller.user_id, status, ticket_type, buyer)
    try:
        answered = await lists.page(wanted, page)
    except Problem as problem:
        problem.headers.update(headers)
        raise
    return Response(
        msgspec.json.encode(dict(answered)), headers=headers, media_type="application/json"
    )
