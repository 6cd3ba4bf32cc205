"""What the users of this process buy, and with which tokens."""

from collections.abc import Iterator
from itertools import cycle

import msgspec
from gevent.event import AsyncResult


class Payments(msgspec.Struct, frozen=True):
    """How what is held is paid.

    Attributes:
        key: of the event's owner; empty: nobody pays.
        abandoned: which share is not paid, from 0 to 1.
    """

    key: str = ""
    abandoned: float = 1.0


class Rehearsal(msgspec.Struct, frozen=True):
    """As the master sends it to its workers.

    Attributes:
        ticket_types: what is on sale, all of one event.
        tokens: one of each buyer; where there are more users than tokens, several are one buyer.
        workers: among how many processes the tokens are shared out.
        payments: how shops pay.
    """

    ticket_types: list[int]
    tokens: list[str]
    workers: int
    payments: Payments = Payments()


class _Part(msgspec.Struct, frozen=True):
    """This process's part of the rehearsal."""

    ticket_types: list[int]
    payments: Payments
    tokens: Iterator[str]


# Users who start before it is there wait for it.
_part: "AsyncResult[_Part]" = AsyncResult()


def take_part(rehearsal: Rehearsal, worker_index: int) -> None:
    """From now on the users of this process buy there, with the tokens that are this worker's."""
    tokens = cycle(tokens_of(rehearsal, worker_index))
    _part.set(_Part(rehearsal.ticket_types, rehearsal.payments, tokens))


def _own() -> _Part:
    part: _Part = _part.get()
    return part


def tokens_of(rehearsal: Rehearsal, worker_index: int) -> list[str]:
    """The tokens of one worker; all of them where there are fewer than workers."""
    own = rehearsal.tokens[worker_index % rehearsal.workers :: rehearsal.workers]
    return own or rehearsal.tokens


def ticket_types() -> list[int]:
    return _own().ticket_types


def payments() -> Payments:
    return _own().payments


def next_token() -> str:
    return next(_own().tokens)
