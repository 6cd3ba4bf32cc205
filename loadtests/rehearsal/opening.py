"""Puts the rehearsal's tickets on sale, by the public API, and finds its buyers."""

import argparse
import logging
import math
import os
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from locust.exception import StopTest
from msgspec.structs import replace

from loadtests.eventify_command import eventify
from loadtests.recording.figures import OUTCOME_TIMEOUT_SECONDS
from loadtests.rehearsal.assignment import Payments
from loadtests.rehearsal.expiry import expires_at
from loadtests.selling import create_api_key, create_sale
from shared.errors import ConfigurationError

# The users that are minted, REHEARSAL1 and so on; a later rehearsal takes the same ones.
REHEARSAL = "rehearsal"
# Of minted tokens at least, as of the API key that pays: a run without an end may take a day.
DAY_SECONDS = 86_400
LIFETIME = "EVENTIFY_ACCESS_TOKEN_SECONDS"
logger = logging.getLogger(__name__)


def open_sale(
    host: str, options: argparse.Namespace, buyers: int
) -> tuple[list[int], list[str], Payments]:
    """The ids of the ticket types on sale, the tokens of their buyers, and how they are paid.

    Args:
        host: the gateway's URL.
        options: Locust's, with those of `arguments`.
        buyers: how many tokens to mint where none are given.

    Raises:
        StopTest: something is missing, in a sentence; Locust then ends the test.
    """
    needed_seconds = math.ceil((options.run_time or 0) + OUTCOME_TIMEOUT_SECONDS)
    if options.tokens:
        tokens = read_tokens(Path(options.tokens))
    else:
        tokens = mint_tokens(buyers, max(DAY_SECONDS, needed_seconds))
    if problem := expiry_problem(tokens, time.time(), needed_seconds):
        raise StopTest(problem)
    payments = Payments(options.payments_key, options.abandon)
    if options.ticket_type:
        return [options.ticket_type], tokens, payments
    title = f"Rehearsal of {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    try:
        ids = create_sale(
            *(host, tokens[0], title, options.event_capacity),
            hold_seconds=options.hold_seconds or None,
        ).ticket_types
        if options.hold_seconds and not payments.key:
            payments = replace(
                payments, key=create_api_key(host, tokens[0], "rehearsal", ["payments"])
            )
    except ConfigurationError as error:
        raise StopTest(str(error)) from error
    logger.info("Ticket types %s are on sale: %d tickets", ids, options.event_capacity)
    return ids, tokens, payments


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


def expiry_problem(tokens: Iterable[str], now: float, needed_seconds: int) -> str | None:
    """A sentence if one of the tokens ends before the run does; None if none does."""
    left = min(map(expires_at, tokens)) - now
    if left >= needed_seconds:
        return None
    return (
        f"The first token ends in {max(0, int(left)):,} s, and the run needs it for"
        f" {needed_seconds:,} s: mint tokens with a larger {LIFETIME}."
    )


def mint_tokens(buyers: int, lifetime_seconds: int) -> list[str]:
    """Tokens of the system that runs on this machine, in EVENTIFY_HOME.

    Raises:
        StopTest: there is none, or no key to sign with.
    """
    try:
        return eventify(
            *("token", REHEARSAL, "--count", str(buyers)),
            environment=os.environ | {LIFETIME: str(lifetime_seconds)},
        ).split()
    except RuntimeError as error:
        reason = f"No tokens could be minted here; --tokens FILE gives some. {error}"
        raise StopTest(reason) from error
