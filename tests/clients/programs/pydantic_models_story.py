"""Sells tickets and buys them, with httpx and the models of datamodel-code-generator.

Each answer is parsed, and has to come out as it came in.
"""

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar, assert_never
from uuid import uuid4

import httpx
from eventify_models import (
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
from pydantic import BaseModel

PASSWORD = "four lamps in june"
PURCHASES = "/api/ticket-purchases/"
Model = TypeVar("Model", bound=BaseModel)


def parsed(kind: type[Model], response: httpx.Response) -> Model:
    model = kind.model_validate_json(response.content)
    again = model.model_dump_json(exclude_unset=True)
    assert json.loads(again) == response.json(), (again, response.text)
    return model


def body(model: BaseModel) -> dict[str, object]:
    return model.model_dump(mode="json", exclude_unset=True)


def sign_up(url: str, username: str) -> httpx.Client:
    client = httpx.Client(base_url=url, timeout=30)
    account = AccountCreate(username=username, password=PASSWORD)
    parsed(Account, client.post("/api/users/", json=body(account)))
    credentials = TokenCreate(username=username, password=PASSWORD)
    pair = parsed(TokenPair, client.post("/api/token/", json=body(credentials)))
    client.headers["Authorization"] = f"Bearer {pair.access}"
    return client


def put_on_sale(seller: httpx.Client) -> tuple[Event, TicketType, TicketType]:
    """An event with ten standing places, and five seats that are held for their payment."""
    starts = datetime.now(UTC) + timedelta(days=30)
    concert = EventCreate(title="Concert", start_time=starts, end_time=starts + timedelta(hours=3))
    event = parsed(Event, seller.post("/api/events/", json=body(concert)))
    standing = TicketTypeCreate(event=event.id, name="Standing", price="25.00", capacity=10)
    seat = TicketTypeCreate(
        event=event.id, name="Seat", price="40.00", capacity=5, hold_seconds=600
    )
    made = [seller.post("/api/ticket-types/", json=body(one)) for one in (standing, seat)]
    return event, parsed(TicketType, made[0]), parsed(TicketType, made[1])


def request(
    buyer: httpx.Client, wanted: PurchaseCreate | CartCreate, key: object, **headers: str
) -> httpx.Response:
    return buyer.post(
        PURCHASES, json=body(wanted), headers={"Idempotency-Key": f'"{key}"'} | headers
    )


def buy(buyer: httpx.Client, wanted: PurchaseCreate | CartCreate, key: object) -> Purchase:
    purchase = parsed(Purchase, request(buyer, wanted, key))
    while purchase.status is PurchaseStatus.queued:
        response = buyer.get(f"{PURCHASES}{purchase.id}/", params={"wait": 20})
        purchase = parsed(Purchase, response)
    return purchase


def refused(
    buyer: httpx.Client, ticket_type: TicketType, quantity: int, key: object
) -> PurchaseCreateCode:
    wanted = PurchaseCreate(ticket_type=ticket_type.id, quantity=quantity)
    return parsed(PurchaseCreateProblem, request(buyer, wanted, key, Prefer="wait=20")).code


def advice(code: PurchaseCreateCode) -> str:
    """What a buyer's program does next."""
    match code:
        case (
            PurchaseCreateCode.not_enough_tickets
            | PurchaseCreateCode.over_user_limit
            | PurchaseCreateCode.sale_closed
        ):
            return "stop"
        case (
            PurchaseCreateCode.all_held
            | PurchaseCreateCode.sale_not_open
            | PurchaseCreateCode.sale_paused
            | PurchaseCreateCode.too_many_expired_holds
            | PurchaseCreateCode.too_many_requests
            | PurchaseCreateCode.body_too_slow
            | PurchaseCreateCode.server_error
            | PurchaseCreateCode.unavailable
        ):
            return "retry"
        case (
            PurchaseCreateCode.not_authenticated
            | PurchaseCreateCode.token_expired
            | PurchaseCreateCode.token_malformed
            | PurchaseCreateCode.token_not_valid
        ):
            return "sign in"
        case (
            PurchaseCreateCode.body_too_large
            | PurchaseCreateCode.cross_site_request
            | PurchaseCreateCode.idempotency_key_reused
            | PurchaseCreateCode.invalid
            | PurchaseCreateCode.malformed_body
            | PurchaseCreateCode.not_your_event
            | PurchaseCreateCode.out_of_scope
            | PurchaseCreateCode.unsupported_content_encoding
        ):
            return "fix the program"
        case _:
            assert_never(code)


if TYPE_CHECKING:
    # Were it no error, `mypy --strict` would report an unused "type: ignore".
    MISSPELT = PurchaseCreateCode.sale_pausd  # type: ignore[attr-defined]


def main(url: str, name: str) -> None:
    seller, buyer = (sign_up(url, f"{name}-{role}") for role in ("seller", "buyer"))
    event, standing, seat = put_on_sale(seller)

    lines = [PurchaseLine(ticket_type=one.id, quantity=1) for one in (standing, seat)]
    cart = buy(buyer, CartCreate(items=lines), uuid4())
    assert cart.status is PurchaseStatus.held
    payment = PurchaseConfirm(
        payment_reference=f"{name}-1", amount=cart.total_price, currency=cart.currency
    )
    confirm = f"{PURCHASES}{cart.id}/confirm/"
    paid = parsed(Purchase, seller.post(confirm, json=body(payment)))

    key = uuid4()
    two = buy(buyer, PurchaseCreate(ticket_type=standing.id, quantity=2), key)

    codes = [
        refused(buyer, standing, 3, key),
        refused(buyer, standing, 8, uuid4()),
        refused(buyer, standing, 11, uuid4()),
    ]
    paused = seller.post(f"/api/ticket-types/{standing.id}/pause/")
    assert parsed(TicketType, paused).paused_at
    codes.append(refused(buyer, standing, 1, uuid4()))
    nobody = httpx.Client(base_url=url, headers={"Authorization": "Bearer none"})
    codes.append(refused(nobody, standing, 1, uuid4()))

    payment.payment_reference = f"{name}-2"
    again = seller.post(confirm, json=body(payment))
    unknown = buyer.get(f"{PURCHASES}{uuid4()}/")
    wrong = TokenCreate(username=f"{name}-buyer", password="wrong")
    signed_in = buyer.post("/api/token/", json=body(wrong))
    others = [
        parsed(PurchaseConfirmProblem, again).code,
        parsed(PurchaseReadProblem, unknown).code,
        parsed(TokenCreateProblem, signed_in).code,
    ]

    own = parsed(PurchasePage, buyer.get(PURCHASES))
    sold = parsed(PurchasePage, seller.get(PURCHASES, params={"event": event.id}))
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
