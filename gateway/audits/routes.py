"""The routes of audits: parse, call, respond."""

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BeforeValidator, WithJsonSchema

from gateway.audits import store
from gateway.audits.schemas import Audit, AuditPage
from gateway.rate_limits.by_user import UserLimit
from gateway.rate_limits.token_bucket import Rate
from gateway.user_transactions import UserTransactions
from shared.auth.caller import Caller
from shared.database.once import REPLAYED
from shared.errors import InvalidInput, NotFound, PermissionDenied, Unavailable, on_problem
from shared.row_ids import MAX_ID, row_id
from shared.web.authentication import AuthenticatedRoute, Manager, Reader
from shared.web.idempotency_key import KEY_FORM, KEY_PROBLEMS, IdempotencyKey
from shared.web.openapi import error_responses, headers, rate_limits, too_many
from shared.web.pagination import BEYOND_THE_END, WantedPage
from shared.web.path_id import PathId

PATH: Final = "/api/events/{id}/audits/"
ONE_PATH: Final = PATH + "{audit}/"
# Requests of one user, also those that join an audit. It may take minutes of a core.
RATE: Final = Rate(10, 0.1)
LIMITED_BY = rate_limits("audits")
READ_LIMITED_BY = rate_limits("lists")

AuditId = Annotated[
    int,
    Path(alias="audit", description="The audit's id.", examples=[1]),
    BeforeValidator(row_id),
    WithJsonSchema({"type": "integer", "format": "int64", "minimum": 1, "maximum": MAX_ID}),
]


async def _transactions(request: Request) -> UserTransactions:
    transactions: UserTransactions = request.app.state.audits
    return transactions


class _Limited:
    """Counts a request of a user; every response has the `RateLimit` headers."""

    def __init__(self, limit: Callable[[Request], UserLimit]) -> None:
        self._limit = limit

    async def __call__(self, request: Request, response: Response) -> AsyncIterator[None]:
        """Raises TooManyRequests."""
        caller: Caller = request.state.caller
        limits = await self._limit(request).draw(caller.user_id)
        response.headers.update(limits)
        with on_problem(add=limits):
            yield


Transactions = Annotated[UserTransactions, Depends(_transactions)]
reads_limited = Depends(_Limited(lambda request: request.app.state.list_limit))
runs_limited = Depends(_Limited(lambda request: request.app.state.audit_limit))
READ_LIMITED = {"headers": headers({}, READ_LIMITED_BY)}
LINKS = {
    "audits.read": {
        "operationId": "audits.read",
        "parameters": {"id": "$response.body#/event", "audit": "$response.body#/id"},
    }
}

router = APIRouter(tags=["Audits"], route_class=AuthenticatedRoute)


@router.post(
    PATH,
    operation_id="audits.create",
    status_code=202,
    response_model=Audit,
    summary="Audit an event",
    dependencies=[runs_limited],
    response_description="The audit, which will run soon",
    responses=error_responses(
        InvalidInput(errors={"Idempotency-Key": [KEY_FORM]}),
        *(PermissionDenied, NotFound, Unavailable, too_many("audits"), *KEY_PROBLEMS),
        sometimes=LIMITED_BY,
    )
    | {
        202: {
            "headers": headers({"Location": "/api/events/1/audits/1/"}, LIMITED_BY | REPLAYED),
            "links": LINKS,
        }
    },
)
async def audit_event(
    caller: Manager,
    event_id: PathId,
    transactions: Transactions,
    key: IdempotencyKey,
    response: Response,
) -> Audit:
    """Replays every decision, as `eventify audit` does, beside the running sale.

    Of an event one runs at a time: while one is queued or running, this returns it.
    """
    audit, is_replay = await transactions.run(caller.user_id, store.request, event_id, key.of())
    response.headers["Location"] = f"/api/events/{event_id}/audits/{audit.id}/"
    response.headers.update(REPLAYED if is_replay else {})
    return audit


@router.get(
    PATH,
    operation_id="audits.list",
    response_model=AuditPage,
    response_model_exclude_unset=True,
    summary="List the audits of an event, newest first",
    dependencies=[reads_limited],
    response_description="A page of audits",
    responses=error_responses(
        InvalidInput(errors={"page_size": ["Must be a whole number from 1 on."]}),
        *(PermissionDenied, NotFound, NotFound(BEYOND_THE_END), Unavailable, too_many("lists")),
        sometimes=READ_LIMITED_BY,
    )
    | {200: READ_LIMITED},
)
async def list_audits(
    caller: Reader, event_id: PathId, transactions: Transactions, page: WantedPage
) -> object:
    """For the event's owner. The newest hundred are kept."""
    return await transactions.run(caller.user_id, store.page, event_id, page)


@router.get(
    ONE_PATH,
    operation_id="audits.read",
    response_model=Audit,
    summary="Read an audit of an event",
    dependencies=[reads_limited],
    response_description="The audit, and its verdict once there is one",
    responses=error_responses(
        *(PermissionDenied, NotFound, Unavailable, too_many("lists")), sometimes=READ_LIMITED_BY
    )
    | {200: READ_LIMITED},
)
async def read_audit(
    caller: Reader, event_id: PathId, audit_id: AuditId, transactions: Transactions
) -> object:
    """For the event's owner."""
    return await transactions.run(caller.user_id, store.read, event_id, audit_id)
