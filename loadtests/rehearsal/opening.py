"""Puts the rehearsal's tickets on sale, by the public API, and finds its buyers."""

import argparse
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from locust.exception import StopTest

from loadtests.eventify_command import eventify

# The users that are minted, REHEARSAL1 and so on; a later rehearsal takes the same ones.
REHEARSAL = "rehearsal"
TIMEOUT_SECONDS = 30.0
logger = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log each request


def open_sale(host: str, options: argparse.Namespace, buyers: int) -> tuple[int, list[str]]:
    """The id of the ticket type on sale, and the tokens of its buyers.

    Args:
        host: the gateway's URL.
        options: Locust's, with those of `arguments`.
        buyers: how many tokens to mint where none are given.

    Raises:
        StopTest: something is missing, in a sentence; Locust then ends the test.
    """
    tokens = read_tokens(Path(options.tokens)) if options.tokens else mint_tokens(buyers)
    if options.ticket_type:
        return options.ticket_type, tokens
    return make_ticket_type(host, tokens[0], options.event_capacity), tokens


def read_tokens(file: Path) -> list[str]:
    """The lines of the file that are not empty.

    Raises:
        StopTest: it cannot be read, or holds none.
    """
    try:
        tokens = file.read_text().split()
    except OSError as error:
        raise StopTest(f"Cannot read the tokens in {file}: {error.strerror}.") from error
    if not tokens:
        raise StopTest(f"There are no tokens in {file}.")
    return tokens


def mint_tokens(buyers: int) -> list[str]:
    """Tokens of the system that runs on this machine, in EVENTIFY_HOME.

    Raises:
        StopTest: there is none, or no key to sign with.
    """
    try:
        return eventify("token", REHEARSAL, "--count", str(buyers)).split()
    except RuntimeError as error:
        told = f"No tokens could be minted here; --tokens FILE gives some. {error}"
        raise StopTest(told) from error


def make_ticket_type(host: str, token: str, capacity: int) -> int:
    """The id of a new ticket type, of an event of its own; the buyer of this token sells it.

    Raises:
        StopTest: the system does not answer, or refuses.
    """
    starts = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    event = {
        "title": f"Rehearsal of {datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
        "start_time": starts.isoformat(),
        "end_time": (starts + timedelta(hours=3)).isoformat(),
    }
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=host, headers=headers, timeout=TIMEOUT_SECONDS) as organiser:
        event_id = _create(organiser, "/api/events/", event)
        ticket_type = {"event": event_id, "name": "Standing", "price": "50.00"}
        id_ = _create(organiser, "/api/ticket-types/", ticket_type | {"capacity": capacity})
    logger.info("Ticket type %d is on sale: %d tickets", id_, capacity)
    return id_


def _create(organiser: httpx.Client, path: str, body: dict[str, Any]) -> int:
    try:
        created = organiser.post(path, json=body)
    except httpx.HTTPError as error:
        raise StopTest(f"{organiser.base_url} does not answer: {error}.") from error
    if created.status_code != 201:
        raise StopTest(f"POST {path} was answered {created.status_code}: {created.text}")
    id_: int = created.json()["id"]
    return id_
