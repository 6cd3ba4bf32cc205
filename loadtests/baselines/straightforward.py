"""The design that most teams would begin with: one request, one transaction, one locked row.

`python -m loadtests.baselines.straightforward PORT`. FastAPI with a synchronous route, a pydantic
body, the token checked by PyJWT, SQLAlchemy's ORM and its pool. It is meant to be good code: what
Eventify is faster by shall come from the design, not from a badly written rival. It runs under the
same server and flags as the gateway. Like the gateway it stores the price with the purchase.
"""

import sys
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated

import jwt
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, PositiveInt
from sqlalchemy import CheckConstraint, ForeignKey, Identity, Numeric, create_engine, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from shared.auth.keys import load_public_keys
from shared.config.database_url import sqlalchemy_url
from shared.config.settings import Settings, get_settings
from shared.web.server import serve

# More sessions than this only wait for the same row. None beyond it: SQLAlchemy would open and
# close one for each request of a rush, which costs several times what the purchase does.
POOL_SIZE = 10


class SimpleBase(DeclarativeBase):
    pass


class SimpleTicketType(SimpleBase):
    __tablename__ = "ticket_types"
    __table_args__ = (CheckConstraint("capacity >= 0"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    price: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    capacity: Mapped[int]


class SimplePurchase(SimpleBase):
    __tablename__ = "purchases"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    ticket_type_id: Mapped[int] = mapped_column(ForeignKey("ticket_types.id"), index=True)
    user_id: Mapped[int] = mapped_column(index=True)
    quantity: Mapped[int]
    unit_price: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class SimplePurchaseRequest(BaseModel):
    ticket_type: PositiveInt
    quantity: PositiveInt


class PurchaseMade(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    ticket_type_id: int
    quantity: int
    unit_price: Decimal
    created_at: datetime


def session(request: Request) -> Iterator[Session]:
    with request.app.state.sessions() as session:
        yield session


def user_id(
    request: Request, bearer: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]
) -> int:
    """By the same access tokens as Eventify's own services."""
    state, token = request.app.state, bearer.credentials
    settings: Settings = state.settings
    try:
        claims = jwt.decode(
            token,
            state.keys[jwt.get_unverified_header(token)["kid"]],
            algorithms=["RS256"],
            audience=settings.token_audience,
            issuer=settings.token_issuer,
        )
    except (jwt.PyJWTError, KeyError) as error:
        raise HTTPException(401, "The token is not valid.") from error
    return int(claims["sub"])


def create_app(settings: Settings) -> FastAPI:
    """The service; its tables are made where they are missing."""
    engine = create_engine(
        sqlalchemy_url(settings.database_url), pool_size=POOL_SIZE, max_overflow=0
    )
    app = FastAPI()
    app.state.settings, app.state.keys = settings, load_public_keys(settings.keys_dir)
    app.state.sessions = sessionmaker(engine)

    @app.post("/api/ticket-purchases/", status_code=201)
    def buy(
        wanted: SimplePurchaseRequest,
        session: Annotated[Session, Depends(session)],
        user_id: Annotated[int, Depends(user_id)],
    ) -> PurchaseMade:
        locked = (
            select(SimpleTicketType)
            .where(SimpleTicketType.id == wanted.ticket_type)
            .with_for_update()
        )
        ticket_type = session.scalars(locked).one_or_none()
        if ticket_type is None:
            raise HTTPException(400, "There is no such ticket type.")
        if ticket_type.capacity < wanted.quantity:
            raise HTTPException(400, "Not enough tickets available")
        ticket_type.capacity -= wanted.quantity
        purchase = SimplePurchase(
            ticket_type_id=ticket_type.id,
            user_id=user_id,
            quantity=wanted.quantity,
            unit_price=ticket_type.price,
        )
        session.add(purchase)
        session.flush()
        made = PurchaseMade.model_validate(purchase)
        session.commit()
        return made

    return app


def run(port: int) -> None:
    settings = get_settings()
    serve(create_app(settings), "127.0.0.1", port, settings, shares_port=True)


if __name__ == "__main__":
    run(int(sys.argv[1]))
