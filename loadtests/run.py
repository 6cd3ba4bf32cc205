"""A run as Locust measured it: what the recorder writes and the check reads."""

from pathlib import Path
from typing import Any

import msgspec

FILE = "run.json"
OBSERVATIONS_FILE = "observations.jsonl"


class Thresholds(msgspec.Struct, frozen=True):
    """What a run must reach; None: anything will do.

    Attributes:
        max_p99_ms: from the moment a purchase was meant to be sent until its decision was known.
        max_failure_ratio: failed requests of all; without it, a single failure is an error.
        min_throughput: purchases settled a second, in the run's best five seconds.
    """

    max_p99_ms: float | None = None
    max_failure_ratio: float | None = None
    min_throughput: float | None = None


class Moment(msgspec.Struct, frozen=True):
    """One second of a run; None: not known then.

    Attributes:
        at: seconds since the run began.
        users: how many there were.
        requests, accepted, settled: in this second; `settled` is decided or told sold out.
        left, queued, decisions: as the rows stood; of all watched ticket types together.
        cores: busy with each service, on average over this second.
        p50_ms, p95_ms, p99_ms: until the decision, of the purchases decided since the last moment.
    """

    at: int
    users: int
    requests: int = 0
    accepted: int = 0
    settled: int = 0
    left: int | None = None
    queued: int | None = None
    decisions: int | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    cores: dict[str, float] = {}


class Latency(msgspec.Struct, frozen=True):
    """Of all purchases of a run, from the moment each was meant to be sent."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


class Run(msgspec.Struct, frozen=True):
    """The whole of it.

    Attributes:
        started_at: RFC 3339, UTC.
        arguments: the load test's own, by name.
        ticket_types: which were on sale.
        to_202, to_decision: until that answer was read; None: there was none.
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
    to_202: Latency | None
    to_decision: Latency | None
    moments: list[Moment]
    cpu_seconds: dict[str, float]
    thresholds: Thresholds
    errors: list[str]


def write(run: Run, folder: Path) -> None:
    (folder / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(run)))


def read(folder: Path) -> Run:
    """The run recorded in this folder.

    Raises:
        OSError: there is none.
        msgspec.DecodeError: it is none of ours.
    """
    return msgspec.json.decode((folder / FILE).read_bytes(), type=Run)
