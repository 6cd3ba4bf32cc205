"""Sells tickets and buys them, with the client of openapi-python-client; prints what came of it."""

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar, assert_never
from uuid import UUID, uuid4

from eventify_api_client import AuthenticatedClient, Client
from eventify_api_client.api.accounts import accounts_create
from eventify_api_client.api.events import events_create
from eventify_api_client.api.purchases import (
    purchases_confirm,
    purchases_create,
    purchases_list,
    purchases_read,
)
from eventify_api_client.api.ticket_types import ticket_types_create, ticket_types_pause
from eventify_api_client.api.tokens import tokens_create
from eventify_api_client.models import (
    Account,
    AccountCreate,
    CartCreate,
    Event,
    EventCreate,
    Purchase,
    PurchaseConfirm,
    PurchaseConfirmProblem,
    PurchaseCreate,
    PurchaseCreateCode,
    PurchaseCreateProblem,
    PurchaseLine,
    PurchasePage,
    PurchaseReadProblem,
    PurchaseStatus,
    TicketType,
    TicketTypeCreate,
    TokenCreate,
    TokenCreateProblem,
    TokenPair,
)

PASSWORD = "four lamps in june"
T = TypeVar("T")


def expect(kind: type[T], parsed: object) -> T:
    assert isinstance(parsed, kind), parsed
    return parsed


def sign_up(url: str, username: str) -> AuthenticatedClient:
    client = Client(base_url=url)
    body = AccountCreate(username=username, password=PASSWORD)
    expect(Account, accounts_create.sync(client=client, body=body))
    credentials = TokenCreate(username=username, password=PASSWORD)
    pair = expect(TokenPair, tokens_create.sync(client=client, body=credentials))
    return AuthenticatedClient(base_url=url, token=pair.access)


def put_on_sale(seller: AuthenticatedClient) -> tuple[Event, TicketType, TicketType]:
    """An event with ten standing places, and five seats that are held for their payment."""
    starts = datetime.now(UTC) + timedelta(days=30)
    body = EventCreate(title="Concert", start_time=starts, end_time=starts + timedelta(hours=3))
    event = expect(Event, events_create.sync(client=seller, body=body))
    standing = TicketTypeCreate(event=event.id, name="Standing", price="25.00", capacity=10)
    seat = TicketTypeCreate(
        event=event.id, name="Seat", price="40.00", capacity=5, hold_seconds=600
    )
    made = [ticket_types_create.sync(client=seller, body=body) for body in (standing, seat)]
    return event, expect(TicketType, made[0]), expect(TicketType, made[1])


def decided(buyer: AuthenticatedClient, purchase: Purchase) -> Purchase:
    while purchase.status is PurchaseStatus.QUEUED:
        purchase = expect(Purchase, purchases_read.sync(purchase.id, client=buyer, wait=20))
    return purchase


def buy(buyer: AuthenticatedClient, body: PurchaseCreate | CartCreate, key: UUID) -> Purchase:
    answer = purchases_create.sync(client=buyer, body=body, idempotency_key=f'"{key}"')
    return decided(buyer, expect(Purchase, answer))


def refused(
    buyer: AuthenticatedClient, ticket_type: TicketType, quantity: int, key: UUID
) -> PurchaseCreateCode:
    answer = purchases_create.sync(
        client=buyer,
        body=PurchaseCreate(ticket_type=ticket_type.id, quantity=quantity),
        idempotency_key=f'"{key}"',
        prefer="wait=20",
    )
    return expect(PurchaseCreateProblem, answer).code


def advice(code: PurchaseCreateCode) -> str:
    """What a buyer's program does next."""
    match code:
        case (
            PurchaseCreateCode.NOT_ENOUGH_TICKETS
            | PurchaseCreateCode.OVER_USER_LIMIT
            | PurchaseCreateCode.SALE_CLOSED
        ):
            return "stop"
        case (
            PurchaseCreateCode.ALL_HELD
            | PurchaseCreateCode.SALE_NOT_OPEN
            | PurchaseCreateCode.SALE_PAUSED
            | PurchaseCreateCode.TOO_MANY_EXPIRED_HOLDS
            | PurchaseCreateCode.TOO_MANY_REQUESTS
            | PurchaseCreateCode.BODY_TOO_SLOW
            | PurchaseCreateCode.SERVER_ERROR
            | PurchaseCreateCode.UNAVAILABLE
        ):
            return "retry"
        case (
            PurchaseCreateCode.NOT_AUTHENTICATED
            | PurchaseCreateCode.TOKEN_EXPIRED
            | PurchaseCreateCode.TOKEN_MALFORMED
            | PurchaseCreateCode.TOKEN_NOT_VALID
        ):
            return "sign in"
        case (
            PurchaseCreateCode.BODY_TOO_LARGE
            | PurchaseCreateCode.CROSS_SITE_REQUEST
            | PurchaseCreateCode.IDEMPOTENCY_KEY_REUSED
            | PurchaseCreateCode.INVALID
            | PurchaseCreateCode.MALFORMED_BODY
            | PurchaseCreateCode.NOT_YOUR_EVENT
            | PurchaseCreateCode.OUT_OF_SCOPE
            | PurchaseCreateCode.UNSUPPORTED_CONTENT_ENCODING
        ):
            return "fix the program"
        case _:
            assert_never(code)


if TYPE_CHECKING:
    # Were it no error, `mypy --strict` would report an unused "type: ignore".
    MISSPELT = PurchaseCreateCode.SALE_PAUSD  # type: ignore[attr-defined]


def main(url: str, name: str) -> None:
    seller, buyer = (sign_up(url, f"{name}-{role}") for role in ("seller", "buyer"))
    event, standing, seat = put_on_sale(seller)

    lines = [PurchaseLine(ticket_type=one.id, quantity=1) for one in (standing, seat)]
    cart = buy(buyer, CartCreate(items=lines), uuid4())
    assert cart.status is PurchaseStatus.HELD
    payment = PurchaseConfirm(
        payment_reference=f"{name}-1", amount=cart.total_price, currency=cart.currency
    )
    paid = expect(Purchase, purchases_confirm.sync(cart.id, client=seller, body=payment))

    key = uuid4()
    two = buy(buyer, PurchaseCreate(ticket_type=standing.id, quantity=2), key)

    codes = [
        refused(buyer, standing, 3, key),
        refused(buyer, standing, 8, uuid4()),
        refused(buyer, standing, 11, uuid4()),
    ]
    expect(TicketType, ticket_types_pause.sync(standing.id, client=seller))
    codes.append(refused(buyer, standing, 1, uuid4()))
    nobody = AuthenticatedClient(base_url=url, token="none")
    codes.append(refused(nobody, standing, 1, uuid4()))

    payment.payment_reference = f"{name}-2"
    again = purchases_confirm.sync(cart.id, client=seller, body=payment)
    unknown = purchases_read.sync(uuid4(), client=buyer)
    wrong = TokenCreate(username=f"{name}-buyer", password="wrong")
    signed_in = tokens_create.sync(client=Client(base_url=url), body=wrong)
    others = [
        expect(PurchaseConfirmProblem, again).code,
        expect(PurchaseReadProblem, unknown).code,
        expect(TokenCreateProblem, signed_in).code,
    ]

    own = expect(PurchasePage, purchases_list.sync(client=buyer))
    sold = expect(PurchasePage, purchases_list.sync(client=seller, event=event.id))
    report = {
        "event": event.id,
        "cart": [str(cart.id), paid.status],
        "two": [str(two.id), two.status, two.total_price],
        "advice": [[code, advice(code)] for code in codes],
        "others": others,
        "own": [str(one.id) for one in own.results],
        "sold": [str(one.id) for one in sold.results],
    }
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
