"""The routes of API keys: parse, call, respond. A key manages no keys."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from gateway.accounts.routes import (
    NOT_STORED,
    TOKENS_LIMITED_BY,
    limited_problems,
    tokens_limited,
    uncached,
)
from gateway.api_keys import store
from gateway.api_keys.schemas import ApiKeyCreate, ApiKeyPage, ApiKeyWithSecret
from gateway.api_keys.store import KEYS_MAX
from gateway.user_transactions import UserTransactions
from shared.auth.live_credentials import hash_of, new_key
from shared.database.once import REPLAYED
from shared.errors import Conflict, InvalidInput, NotFound
from shared.web.authentication import AuthenticatedRoute, OwnToken
from shared.web.idempotency_key import KEY_PROBLEMS, IdempotencyKey
from shared.web.openapi import headers, links_by_id
from shared.web.pagination import BEYOND_THE_END, WantedPage
from shared.web.path_id import PathId

router = APIRouter(
    prefix="/api/keys",
    tags=["API keys"],
    route_class=AuthenticatedRoute,
    dependencies=[tokens_limited],
)


async def _transactions(request: Request) -> UserTransactions:
    transactions: UserTransactions = request.app.state.own_keys
    return transactions


Transactions = Annotated[UserTransactions, Depends(_transactions)]


@router.post(
    "/",
    operation_id="api_keys.create",
    status_code=201,
    response_model=ApiKeyWithSecret,
    response_model_exclude_unset=True,
    summary="Create an API key",
    dependencies=[Depends(uncached)],
    response_description="The new key, with its secret",
    responses=limited_problems(
        InvalidInput(errors={"scopes": ["Must name each scope once."]}),
        Conflict(f"You have {KEYS_MAX} keys; delete those that are not used."),
        *KEY_PROBLEMS,
    )
    | {
        201: {
            "headers": headers(NOT_STORED, TOKENS_LIMITED_BY | REPLAYED),
            "links": links_by_id("api_keys.revoke"),
        }
    },
)
async def create_key(
    caller: OwnToken,
    body: ApiKeyCreate,
    transactions: Transactions,
    idempotency_key: IdempotencyKey,
    response: Response,
) -> dict[str, Any]:
    """For a server that acts as you, within the key's scopes. Its secret is shown only here."""
    secret = new_key()
    made, is_replay = await transactions.run(
        caller.user_id,
        store.add,
        body.name,
        [scope.value for scope in body.scopes],
        hash_of(secret),
        body.expires_at,
        idempotency_key.of(body),
    )
    if is_replay:
        response.headers.update(REPLAYED)
        return made.model_dump()
    return made.model_dump() | {"key": secret}


@router.get(
    "/",
    operation_id="api_keys.list",
    response_model=ApiKeyPage,
    response_model_exclude_unset=True,
    summary="List your API keys, newest first",
    response_description="A page of keys",
    responses=limited_problems(
        InvalidInput(errors={"page_size": ["Must be a whole number from 1 on."]}),
        NotFound(BEYOND_THE_END),
    )
    | {200: {"headers": headers({}, TOKENS_LIMITED_BY)}},
)
async def list_keys(caller: OwnToken, page: WantedPage, transactions: Transactions) -> object:
    """Without deleted ones; an expired key is listed until it is deleted."""
    return await transactions.run(caller.user_id, store.page, page)


@router.delete(
    "/{id}/",
    operation_id="api_keys.revoke",
    status_code=204,
    summary="Delete an API key",
    response_description="Deleted",
    responses=limited_problems(NotFound) | {204: {"headers": headers({}, TOKENS_LIMITED_BY)}},
)
async def delete_key(caller: OwnToken, key_id: PathId, transactions: Transactions) -> Response:
    """It stops working everywhere within a second. What it did stays."""
    if not await transactions.run(caller.user_id, store.revoke, key_id):
        raise NotFound
    return Response(status_code=204)
