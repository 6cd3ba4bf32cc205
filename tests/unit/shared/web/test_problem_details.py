"""What a client reads where pydantic's own words would be about Python."""

from typing import Annotated

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, Field

from shared.web.problem_details import install_problem_handlers

pytestmark = pytest.mark.anyio
app = FastAPI()
install_problem_handlers(app)


class Body(BaseModel):
    scopes: Annotated[list[str], Field(min_length=1)]


@app.post("/")
def take(_body: Body) -> None:
    pass


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({"scopes": []}, {"scopes": ["Must have at least 1 item."]}),
        ([], {"body": ["Must be a JSON object."]}),
        ({"scopes": [7]}, {"scopes.0": ["Must be a text."]}),
    ],
)
async def test_messages_are_about_json(body: object, errors: dict[str, list[str]]) -> None:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        answer = await client.post("/", json=body)
    assert (answer.status_code, answer.json()["errors"]) == (400, errors)
