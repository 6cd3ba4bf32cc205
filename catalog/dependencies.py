"""What routes ask for: who calls, which row, and the database."""

from typing import Annotated

from fastapi import Depends, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BeforeValidator, WithJsonSchema
from sqlalchemy import Engine

from shared.row_ids import MAX_ID, row_id
from shared.tokens import TokenVerifier

bearer = HTTPBearer(scheme_name="bearerAuth", bearerFormat="JWT", auto_error=False)


async def signed_in_user(
    request: Request, _documented: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> int:
    """The caller's id. It runs in the event loop: the verifier's memory is not made for threads.

    Raises:
        NotAuthenticated: no token, or a bad one.
    """
    verifier: TokenVerifier = request.app.state.tokens
    return verifier.authenticate(request.headers.get("Authorization")).user_id


async def database_engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


UserId = Annotated[int, Depends(signed_in_user)]
Database = Annotated[Engine, Depends(database_engine)]
PathId = Annotated[
    int,
    Path(alias="id", examples=[1]),
    BeforeValidator(row_id),
    WithJsonSchema({"type": "integer", "format": "int64", "minimum": 1, "maximum": MAX_ID}),
]
