"""An on-sale over the public API: what an organiser creates, and what buyers ask for."""

import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import msgspec

from loadtests.answers import Line
from shared.errors import ConfigurationError

PURCHASES = "/api/ticket-purchases/"
EVERY_SCOPE = ("read", "purchase", "payments", "manage")
# How many tickets a buyer wants, with weights: mostly one or two, as at any concert. Our choice.
QUANTITIES = {1: 50, 2: 30, 3: 12, 4: 8}
# Of an event that is made for a sale; a tenth of its buyers want a cart of two or three of them.
TICKET_TYPES = ("Standing", "Seated", "Balcony")
CARTS = 0.1
TIMEOUT_SECONDS = 30.0
# The operator's own system: no proxy of the environment is on the way to it.
DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def choose(ticket_types: Sequence[int], chance: Random) -> list[Line]:
    """What a buyer wants: tickets of one of these types, or a cart of several."""
    types = chance.randint(2, 3) if chance.random() < CARTS else 1
    chosen = chance.sample(ticket_types, min(types, len(ticket_types)))
    quantities = chance.choices(list(QUANTITIES), list(QUANTITIES.values()), k=len(chosen))
    return list(map(Line, chosen, quantities))


def purchase_body(lines: Sequence[Line]) -> bytes:
    return msgspec.json.encode(lines[0] if len(lines) == 1 else {"items": lines})


class CreatedSale(msgspec.Struct, frozen=True):
    """An event, and its ticket types, which share the capacity."""

    event: int
    ticket_types: list[int]


def create_sale(
    base_url: str,
    token: str,
    title: str,
    capacity: int,
    *,
    hold_seconds: int | None = None,
    published: bool = False,
) -> CreatedSale:
    """Create an event of this token's user.

    Args:
        hold_seconds: how long tickets are held for the payment; None: not at all.
        published: whether everybody sees it, with the tickets that are left.

    Raises:
        ConfigurationError: the system does not answer, or with an error.
    """
    starts = datetime.now(UTC).replace(microsecond=0) + timedelta(days=60)
    times = {
        "start_time": starts.isoformat(),
        "end_time": (starts + timedelta(hours=4)).isoformat(),
    }
    shown = {"published": True, "show_left": True} if published else {}
    event = _create(base_url, "/api/events/", token, {"title": title} | times | shown)["id"]
    terms = {"price": "49.00", "hold_seconds": hold_seconds}
    shares = [(capacity + n) // len(TICKET_TYPES) for n in range(len(TICKET_TYPES))]
    ticket_types = [
        _create(
            base_url,
            "/api/ticket-types/",
            token,
            {"event": event, "name": name, "capacity": share} | terms,
        )["id"]
        for name, share in zip(TICKET_TYPES, shares, strict=True)
    ]
    return CreatedSale(event, ticket_types)


def create_api_key(base_url: str, token: str, name: str, scopes: Sequence[str]) -> str:
    """An API key of this token's user, for a day.

    Raises:
        ConfigurationError: as `create_sale`.
    """
    expires = datetime.now(UTC) + timedelta(days=1)
    fields = {"name": name, "scopes": list(scopes), "expires_at": expires.isoformat()}
    key: str = _create(base_url, "/api/keys/", token, fields)["key"]
    return key


def create_webhook(base_url: str, token: str, url: str) -> None:
    """A webhook of this token's user, of all events.

    Raises:
        ConfigurationError: as `create_sale`.
    """
    _create(base_url, "/api/webhooks/", token, {"url": url})


def register(base_url: str, username: str, password: str) -> int:
    """The id of a new user.

    Raises:
        ConfigurationError: as `create_sale`.
    """
    fields = {"username": username, "password": password}
    user_id: int = _create(base_url, "/api/users/", None, fields)["id"]
    return user_id


def _create(base_url: str, path: str, token: str | None, fields: dict[str, Any]) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(  # noqa: S310 - the operator's own gateway
        base_url.rstrip("/") + path, msgspec.json.encode(fields), headers
    )
    try:
        with DIRECTLY.open(request, timeout=TIMEOUT_SECONDS) as response:
            created: dict[str, Any] = msgspec.json.decode(response.read())
    except urllib.error.HTTPError as error:
        reason = f"POST {path} was answered {error.code}: {error.read().decode(errors='replace')}"
        raise ConfigurationError(reason) from error
    except OSError as error:
        raise ConfigurationError(f"{base_url} does not answer: {error}.") from error
    return created
