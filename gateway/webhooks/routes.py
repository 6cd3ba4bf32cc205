"""The routes of webhooks: parse, call, respond."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from gateway.accounts.routes import (
    NOT_STORED,
    TOKENS_LIMITED_BY,
    limited_problems,
    tokens_limited,
    uncached,
)
from gateway.webhooks import store
from gateway.webhooks.schemas import (
    Webhook,
    WebhookCreate,
    WebhookDeliveryPage,
    WebhookPage,
    WebhookPosition,
    WebhookRewind,
    WebhookTest,
    WebhookUpdate,
    WebhookWithSecret,
)
from gateway.webhooks.service import OwnWebhooks
from gateway.webhooks.store import SECRETS_MAX, no_such_event
from shared.database.once import REPLAYED
from shared.errors import Conflict, InvalidInput, NotFound, UrlNotAllowed
from shared.web.authentication import AuthenticatedRoute, Manager, Reader
from shared.web.idempotency_key import KEY_FORM, KEY_PROBLEMS, IdempotencyKey
from shared.web.openapi import headers, links_by_id
from shared.web.pagination import BEYOND_THE_END, WantedPage
from shared.web.path_id import PathId

router = APIRouter(
    prefix="/api/webhooks",
    tags=["Webhooks"],
    route_class=AuthenticatedRoute,
    dependencies=[tokens_limited],
)


async def own_webhooks(request: Request) -> OwnWebhooks:
    webhooks: OwnWebhooks = request.app.state.own_webhooks
    return webhooks


Webhooks = Annotated[OwnWebhooks, Depends(own_webhooks)]
BAD_URL = UrlNotAllowed(errors={"url": ["Must be an https:// URL."]})
BAD_KEY = InvalidInput(errors={"Idempotency-Key": [KEY_FORM]})
BAD_PAGE = InvalidInput(errors={"page_size": ["Must be a whole number from 1 on."]})
LIMITED = {"headers": headers({}, TOKENS_LIMITED_BY)}
ONCE = {"headers": headers({}, TOKENS_LIMITED_BY | REPLAYED)}
SECRET_ONCE = {"headers": headers(NOT_STORED, TOKENS_LIMITED_BY | REPLAYED)}


@router.post(
    "/",
    operation_id="webhooks.create",
    status_code=201,
    response_model=WebhookWithSecret,
    response_model_exclude_unset=True,
    summary="Create a webhook",
    dependencies=[Depends(uncached)],
    response_description="The new webhook, with its secret",
    responses=limited_problems(
        no_such_event(),
        BAD_URL,
        Conflict("You have 20 webhooks; delete those that are not used."),
        *KEY_PROBLEMS,
    )
    | {
        201: SECRET_ONCE
        | {
            "links": links_by_id(
                *("webhooks.read", "webhooks.update", "webhooks.delete", "webhooks.test"),
                *("webhooks.rotate_secret", "webhooks.rewind", "webhooks.list_deliveries"),
            ),
        }
    },
)
async def create_webhook(
    caller: Manager,
    body: WebhookCreate,
    webhooks: Webhooks,
    key: IdempotencyKey,
    response: Response,
) -> dict[str, Any]:
    """It receives only entries created after it. Its secret is shown only in this response."""
    made, secret = await webhooks.make(
        caller.user_id, body.url, body.event, [*body.kinds], key.of(body)
    )
    return _with_secret(made, secret, response)


@router.get(
    "/",
    operation_id="webhooks.list",
    response_model=WebhookPage,
    response_model_exclude_unset=True,
    summary="List your webhooks, newest first",
    response_description="A page of webhooks",
    responses=limited_problems(BAD_PAGE, NotFound(BEYOND_THE_END)) | {200: LIMITED},
)
async def list_webhooks(caller: Reader, page: WantedPage, webhooks: Webhooks) -> object:
    """Disabled ones, too."""
    return await webhooks.run(caller.user_id, store.page, page)


@router.get(
    "/{id}/",
    operation_id="webhooks.read",
    response_model=Webhook,
    summary="Read a webhook",
    response_description="The webhook",
    responses=limited_problems(NotFound) | {200: LIMITED},
)
async def read_webhook(caller: Reader, webhook_id: PathId, webhooks: Webhooks) -> object:
    """Whether it is enabled, and why not; its secret is not shown again."""
    return await webhooks.run(caller.user_id, store.read, webhook_id)


@router.patch(
    "/{id}/",
    operation_id="webhooks.update",
    response_model=Webhook,
    summary="Change a webhook",
    response_description="The changed webhook",
    responses=limited_problems(
        InvalidInput(errors={"kinds": ["Must name each kind once."]}), BAD_URL, NotFound
    )
    | {200: LIMITED},
)
async def change_webhook(
    caller: Manager, webhook_id: PathId, body: WebhookUpdate, webhooks: Webhooks
) -> object:
    """Pending deliveries use the new URL and kinds; a failed one is retried in half a minute."""
    changes = body.model_dump(exclude_unset=True)
    return await webhooks.change(caller.user_id, webhook_id, changes)


@router.delete(
    "/{id}/",
    operation_id="webhooks.delete",
    status_code=204,
    summary="Delete a webhook",
    response_description="Deleted",
    responses=limited_problems(NotFound) | {204: LIMITED},
)
async def delete_webhook(caller: Manager, webhook_id: PathId, webhooks: Webhooks) -> Response:
    """Nothing more is sent, except a request in progress."""
    await webhooks.run(caller.user_id, store.remove, webhook_id)
    return Response(status_code=204)


@router.post(
    "/{id}/rotate-secret/",
    operation_id="webhooks.rotate_secret",
    response_model=WebhookWithSecret,
    response_model_exclude_unset=True,
    summary="Rotate the secret",
    dependencies=[Depends(uncached)],
    response_description="The webhook, with its new secret",
    responses=limited_problems(
        NotFound,
        Conflict(f"{SECRETS_MAX} secrets sign already; rotate again in some hours."),
        BAD_KEY,
        *KEY_PROBLEMS,
    )
    | {200: SECRET_ONCE},
)
async def rotate_webhook_secret(
    caller: Manager,
    webhook_id: PathId,
    webhooks: Webhooks,
    key: IdempotencyKey,
    response: Response,
) -> dict[str, Any]:
    """The former secret also signs for 24 hours. If it leaked, create another webhook instead."""
    stored, secret = await webhooks.rotate(caller.user_id, webhook_id, key.of())
    return _with_secret(stored, secret, response)


@router.post(
    "/{id}/test/",
    operation_id="webhooks.test",
    status_code=202,
    response_model=WebhookTest,
    summary="Send a test",
    response_description="The test will be sent once",
    responses=limited_problems(NotFound, BAD_KEY, *KEY_PROBLEMS) | {202: ONCE},
)
async def test_webhook(
    caller: Manager,
    webhook_id: PathId,
    webhooks: Webhooks,
    key: IdempotencyKey,
    response: Response,
) -> dict[str, str]:
    """Also if the webhook is disabled. Its result is in the deliveries about a second later."""
    test_id, is_replay = await webhooks.test(caller.user_id, webhook_id, key.of())
    response.headers.update(REPLAYED if is_replay else {})
    return {"id": test_id}


@router.post(
    "/{id}/rewind/",
    operation_id="webhooks.rewind",
    response_model=WebhookPosition,
    summary="Rewind to a number",
    response_description="The event and the number",
    responses=limited_problems(
        InvalidInput(errors={"after": ["The last entry has the number 200."]}),
        NotFound,
        *KEY_PROBLEMS,
    )
    | {200: ONCE},
)
async def rewind_webhook(
    caller: Manager,
    webhook_id: PathId,
    body: WebhookRewind,
    webhooks: Webhooks,
    key: IdempotencyKey,
    response: Response,
) -> dict[str, int | None]:
    """Sends all entries after this number, in new deliveries. It can also skip forward."""
    event_id, is_replay = await webhooks.rewind(
        caller.user_id, webhook_id, body.event, body.after, key.of(body)
    )
    response.headers.update(REPLAYED if is_replay else {})
    return {"event": event_id, "after": body.after}


@router.get(
    "/{id}/deliveries/",
    operation_id="webhooks.list_deliveries",
    response_model=WebhookDeliveryPage,
    response_model_exclude_unset=True,
    summary="List attempts to deliver, newest first",
    response_description="A page of attempts",
    responses=limited_problems(BAD_PAGE, NotFound) | {200: LIMITED},
)
async def list_webhook_deliveries(
    caller: Reader, webhook_id: PathId, page: WantedPage, webhooks: Webhooks
) -> object:
    """The last thousand attempts, without response bodies."""
    return await webhooks.run(caller.user_id, store.deliveries, webhook_id, page)


def _with_secret(stored: Webhook, secret: str | None, response: Response) -> dict[str, Any]:
    if secret is None:
        response.headers.update(REPLAYED)
        return stored.model_dump()
    return stored.model_dump() | {"secret": secret}
