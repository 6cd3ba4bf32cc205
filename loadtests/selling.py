"""An on-sale over the public API: what an organiser creates, and what buyers ask for."""

import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from shared.errors import ConfigurationError

PURCHASES = "/api/ticket-purchases/"
# How many tickets a buyer wants, with weights: mostly one or two, as at any concert. Our choice.
QUANTITIES = {1: 50, 2: 30, 3: 12, 4: 8}
TIMEOUT_SECONDS = 30.0


def create_ticket_type(base_url: str, token: str, title: str, capacity: int) -> int:
    """Create an event and its ticket type, owned by this token's user; returns the latter's id.

    Raises:
        ConfigurationError: the system does not answer, or with an error.
    """
    starts = datetime.now(UTC).replace(microsecond=0) + timedelta(days=60)
    times = {
        "start_time": starts.isoformat(),
        "end_time": (starts + timedelta(hours=4)).isoformat(),
    }
    event = _create(base_url, "/api/events/", token, {"title": title} | times)
    ticket_type = {"event": event, "name": "Standing", "price": "49.00", "capacity": capacity}
    return _create(base_url, "/api/ticket-types/", token, ticket_type)


def _create(base_url: str, path: str, token: str, fields: dict[str, Any]) -> int:
    request = urllib.request.Request(  # noqa: S310 - the operator's own gateway
        base_url.rstrip("/") + path,
        msgspec.json.encode(fields),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
            created: int = msgspec.json.decode(response.read())["id"]
    except urllib.error.HTTPError as error:
        reason = f"POST {path} was answered {error.code}: {error.read().decode(errors='replace')}"
        raise ConfigurationError(reason) from error
    except OSError as error:
        raise ConfigurationError(f"{base_url} does not answer: {error}.") from error
    return created
