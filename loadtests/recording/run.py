"""A run as Locust measured it: written by the recorder, read by the check."""

from pathlib import Path
from typing import Any

import msgspec

FILE = "run.json"
OBSERVATIONS_FILE = "observations.jsonl"


class Thresholds(msgspec.Struct, frozen=True):
    """What a run must reach; None: no limit.

    Attributes:
        max_p99_ms: from the moment a purchase was meant to be sent until its decision was known, or
            its buyer left without one.
        max_sold_out_p99_ms: until the answer "sold out"; `max_p99_ms` where it is not given.
        max_failure_ratio: failed requests of all; without it, a single failure is an error.
        min_throughput: purchases decided a second, in the run's best five seconds; an answer "sold
            out" is not a purchase.
    """

    max_p99_ms: float | None = None
    max_sold_out_p99_ms: float | None = None
    max_failure_ratio: float | None = None
    min_throughput: float | None = None


class Moment(msgspec.Struct, frozen=True):
    """One second of a run; None: not known then.

    Attributes:
        at: seconds since the run began.
        users: how many there were.
        requests, accepted, decided, sold_out: in this second. `accepted` is a 202, `decided` a
            confirmation, hold or rejection that reached a buyer; `sold_out` an answer without a
            purchase.
        left, held, queued, decisions: as the rows stood; left and held of the watched ticket types,
            the others of their events.
        cores: busy with each service, on average over this second.
        p50_ms, p95_ms, p99_ms: until the decision, of the purchases decided since the last moment.
        sold_out_p50_ms, sold_out_p99_ms: until "sold out", of those since the last moment.
    """

    at: int
    users: int
    requests: int = 0
    accepted: int = 0
    decided: int = 0
    sold_out: int = 0
    left: int | None = None
    held: int | None = None
    queued: int | None = None
    decisions: int | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    sold_out_p50_ms: float | None = None
    sold_out_p99_ms: float | None = None
    cores: dict[str, float] = {}


class Answers(msgspec.Struct, frozen=True):
    """How often buyers were given each kind of answer.

    Attributes:
        accepted: 202.
        confirmed, held, rejected: the decision of a purchase, waited for or polled.
        paid, given_back, abandoned: what became of those that were held.
        sold_out: nothing was stored.
        gave_up: buyers who were told to come again (400 or 503) until they left; none of their
            purchases is known.
        retry_after_400, retry_after_429, retry_after_503: requests with Retry-After in the answer,
            those of the abuser among them; 400: the sale was paused, or not yet open.
        undecided: purchases whose decision did not come while the buyer stayed, and payments
            without an outcome.
    """

    accepted: int = 0
    confirmed: int = 0
    held: int = 0
    rejected: int = 0
    paid: int = 0
    given_back: int = 0
    abandoned: int = 0
    sold_out: int = 0
    gave_up: int = 0
    retry_after_400: int = 0
    retry_after_429: int = 0
    retry_after_503: int = 0
    undecided: int = 0


class AnswerTimes(msgspec.Struct, frozen=True):
    """Of one kind of answer in a run, from the moment each request was meant to be sent."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


class RecordedRun(msgspec.Struct, frozen=True):
    """The whole of it.

    Attributes:
        started_at: RFC 3339, UTC.
        arguments: the load test's own, by name.
        ticket_types: which were on sale.
        answers: how often each kind was given.
        to_202, to_decision, to_sold_out: until that answer was read; None: there was none. To a
            decision of those who wait for it, with those who left without one.
        cpu_seconds: of each service while the sale was watched; empty where it runs elsewhere.
        errors: what went wrong in the load test itself, in sentences.
    """

    started_at: str
    seconds: float
    host: str
    arguments: dict[str, Any]
    ticket_types: list[int]
    requests: int
    failures: int
    users_max: int
    to_202: AnswerTimes | None
    to_decision: AnswerTimes | None
    to_sold_out: AnswerTimes | None
    answers: Answers
    moments: list[Moment]
    cpu_seconds: dict[str, float]
    thresholds: Thresholds
    errors: list[str]


def write(run: RecordedRun, folder: Path) -> None:
    (folder / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(run)))


def read(folder: Path) -> RecordedRun:
    """The run recorded in this folder.

    Raises:
        OSError: there is none.
        msgspec.DecodeError: it is none of ours.
    """
    return msgspec.json.decode((folder / FILE).read_bytes(), type=RecordedRun)
