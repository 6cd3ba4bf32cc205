"""What routes depend on: the user, the row, and the database."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Header, Path, Request, Response
from fastapi.security import HTTPAuthorizationCredentials
from pydantic import BeforeValidator, WithJsonSchema

from catalog.lanes import Lanes
from catalog.write_request import WriteRequest
from shared.auth.tokens import TokenVerifier
from shared.errors import Unavailable
from shared.row_ids import MAX_ID, row_id
from shared.web.openapi import bearer
from shared.web.strict_routes import StrictRoute

STOPPED = "The catalog stopped during the request; check whether it was done before you retry."


class SignedInRoute(StrictRoute):
    """Asks who calls before anything else; FastAPI itself reads and parses a body first.

    What a stop cuts off is answered like everything else: uvicorn would send a plain 500.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def answer_caller(request: Request) -> Response:
            """Raises NotAuthenticated: no token, or a bad one; Unavailable: we had to stop."""
            verifier: TokenVerifier = request.app.state.tokens
            request.state.user_id = verifier.caller(request.headers.raw).user_id
            try:
                return await answer(request)
            except asyncio.CancelledError as error:
                raise Unavailable(STOPPED) from error

        return answer_caller


async def signed_in_user(
    request: Request, _documented: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> int:
    """The caller's id. Only the routes of a `SignedInRoute` router know it."""
    user_id: int = request.state.user_id
    return user_id


async def database_lanes(request: Request) -> Lanes:
    lanes: Lanes = request.app.state.lanes
    return lanes


UserId = Annotated[int, Depends(signed_in_user)]
Database = Annotated[Lanes, Depends(database_lanes)]
PathId = Annotated[
    int,
    Path(alias="id", examples=[1]),
    BeforeValidator(row_id),
    WithJsonSchema({"type": "integer", "format": "int64", "minimum": 1, "maximum": MAX_ID}),
]
IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", description="ETags of the states that may be changed, or `*`."),
]
IfNoneMatch = Annotated[
    str | None,
    Header(alias="If-None-Match", description="ETags of the states that the client has."),
]


async def write_request(
    database: Database, user_id: UserId, row: PathId, if_match: IfMatch = None
) -> WriteRequest:
    return WriteRequest(database, user_id, row, if_match)


Write = Annotated[WriteRequest, Depends(write_request)]
