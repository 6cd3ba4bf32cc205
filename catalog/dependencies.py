"""What routes depend on: the user, the row, and the database."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response

from catalog.database_threads import DatabaseThreads
from catalog.write_request import WriteRequest
from shared.errors import Unavailable
from shared.web.authentication import AuthenticatedRoute, Manager, Reader
from shared.web.path_id import PathId

STOPPED = "The catalog stopped during the request; check whether it was done before you retry."


class SignedInRoute(AuthenticatedRoute):
    """A request that is interrupted by a stop gets a problem; uvicorn would send a plain 500."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        respond = super().get_route_handler()

        async def respond_when_stopped(request: Request) -> Response:
            try:
                return await respond(request)
            except asyncio.CancelledError as error:
                raise Unavailable(STOPPED) from error

        return respond_when_stopped


async def reading_user(caller: Reader) -> int:
    return caller.user_id


async def managing_user(caller: Manager) -> int:
    return caller.user_id


async def database_threads(request: Request) -> DatabaseThreads:
    threads: DatabaseThreads = request.app.state.database
    return threads


async def default_currency(request: Request) -> str:
    currency: str = request.app.state.default_currency
    return currency


ReaderId = Annotated[int, Depends(reading_user)]
ManagerId = Annotated[int, Depends(managing_user)]
Database = Annotated[DatabaseThreads, Depends(database_threads)]
DefaultCurrency = Annotated[str, Depends(default_currency)]
IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", description="ETags of the states that may be changed, or `*`."),
]


async def write_request(
    database: Database, user_id: ManagerId, row: PathId, if_match: IfMatch = None
) -> WriteRequest:
    return WriteRequest(database, user_id, row, if_match)


Write = Annotated[WriteRequest, Depends(write_request)]
