"""The caller's purchases, newest first; described in `openapi.py` with the other routes."""

from typing import Literal

import msgspec
from fastapi import APIRouter, Request, Response
from sqlalchemy import Engine

from gateway.purchases import read
from gateway.purchases.look_up import PurchaseLookUp
from gateway.purchases.read import Filter
from gateway.rate_limits.by_user import UserLimit
from shared.concurrency.bounded_executor import BoundedExecutor
from shared.concurrency.keyed_limit import Turns
from shared.config.settings import Settings
from shared.database.engine import DATABASE_UNAVAILABLE
from shared.errors import Problem, Unavailable
from shared.row_ids import QueryId
from shared.web.authentication import AuthenticatedRoute, Caller
from shared.web.pagination import Page, WantedPage

# Lists are rare; when this many wait, something is wrong, and they are the first to fail.
WAITING_MAX = 200
# Of one user; browsers ask for six things at a time.
WAITING_OF_USER_MAX = 30

router = APIRouter(include_in_schema=False, route_class=AuthenticatedRoute)


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


@router.get("/api/ticket-purchases/")
async def list_purchases(
    request: Request,
    caller: Caller,
    page: WantedPage,
    status: Literal["queued", "confirmed", "rejected"] | None = None,
    ticket_type: QueryId | None = None,
) -> Response:
    lists: PurchaseLists = request.app.state.purchase_lists
    limit: UserLimit = request.app.state.list_limit
    headers = await limit.draw(caller.user_id)
    wanted = Filter(caller.user_id, status, ticket_type)
    try:
        answered = await lists.page(wanted, page)
    except Problem as problem:
        problem.headers.update(headers)
        raise
    body = {
        "count": answered.count,
        "next": answered.next,
        "previous": answered.previous,
        "results": answered.results,
    }
    return Response(msgspec.json.encode(body), headers=headers, media_type="application/json")
