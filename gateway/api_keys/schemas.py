"""The bodies of requests and responses of API keys."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from shared.auth.caller import KeyScope
from shared.moments import Moment
from shared.row_ids import MAX_ID
from shared.text import LINE_PATTERN, InNfc, Storable, readable_line
from shared.web.openapi import with_example, with_page_of
from shared.web.pagination import Page
from shared.web.strict_routes import RequestBody

NAME_MAX_CHARACTERS = 100
KEY: dict[str, Any] = {
    "id": 1,
    "name": "Checkout",
    "scopes": ["read", "purchase", "payments"],
    "created_at": "2026-11-22T12:00:00.000000Z",
    "expires_at": "2027-11-22T12:00:00.000000Z",
    "last_used_at": "2026-11-22T12:05:00.000000Z",
}
SECRET = "evk_3ZqT0yq7mJr1cVwKkz5uXb8dNf2hLs9gPaEoRiYtUvM"


def _each_once(scopes: list[KeyScope]) -> list[KeyScope]:
    if len(set(scopes)) < len(scopes):
        raise ValueError("Must name each scope once.")
    return scopes


class ApiKeyCreate(RequestBody):
    """A key to be made."""

    model_config = with_example({name: KEY[name] for name in ("name", "scopes")})

    name: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=NAME_MAX_CHARACTERS),
        InNfc,
        Storable,
        AfterValidator(readable_line),
        Field(description="To tell it from others.", json_schema_extra={"pattern": LINE_PATTERN}),
    ]
    scopes: Annotated[
        list[KeyScope],
        AfterValidator(_each_once),
        Field(
            min_length=1,
            max_length=len(KeyScope),
            description="`read`: every GET. `purchase`: buy and release. `payments`: confirm,"
            " cancel and extend holds. `manage`: write events, ticket types and webhooks.",
            json_schema_extra={"uniqueItems": True},
        ),
    ]
    expires_at: Moment | None = Field(
        default=None, description="A time in the future, from which on it is invalid; null: never."
    )


class ApiKey(BaseModel):
    """An API key, without its secret."""

    model_config = with_example(KEY)

    id: int = Field(ge=1, le=MAX_ID)
    name: str
    scopes: list[KeyScope]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="To within a minute; null: never.")


class ApiKeyWithSecret(ApiKey):
    """A new API key, with its secret; without it in the response to a repeated request."""

    model_config = with_example(KEY | {"key": SECRET})

    key: str = Field(
        default_factory=str, description="The secret. It is shown once: a replay is without it."
    )


class ApiKeyPage(Page[ApiKey]):
    """One page of a list of API keys."""

    model_config = with_page_of(KEY, "/api/keys/")
