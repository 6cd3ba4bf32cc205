"""Which curve is judged by which rule, and the verdicts of a run. Pure."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from loadtests.soak.load.tally import Minute
from loadtests.soak.sampling.sample import Sample, curves
from loadtests.soak.verdict.trends import (
    Flat,
    Point,
    Proportional,
    Verdict,
    judge_flat,
    judge_proportional,
    judge_quarters,
)

# Rows come and go: docs/operations.md ("What is kept") says when.
COME_AND_GO = frozenset(
    {
        "holds",
        "refresh_tokens",
        "token_cutoffs",
        "webhook_deliveries",
        "webhook_secrets",
        "work_list",
    }
)
# With each purchase, refusal, event or other thing that somebody does. They are the proof, or are
# kept for longer than a soak lasts.
GROW_WITH_SALES = frozenset(
    {
        "alembic_version",
        "api_keys",
        "audits",
        "batches",
        "counters",
        "edge_refusals",
        "events",
        "full_audits",
        "idempotency_keys",
        "lanes",
        "ledger",
        "ledger_epoch",
        "requests",
        "sale_pauses",
        "ticket_types",
        "users",
        "webhook_cursors",
        "webhooks",
    }
)
# Each of its sessions keeps the files of tables open that it has read, up to a limit of its own.
ONLY_SHOWN = frozenset({"open_files:postgres"})
ENTRIES = "entries"
P99_TIMES_MAX, P99_SEEN_FROM_MS = 1.5, 10.0


class Kind(msgspec.Struct, frozen=True):
    """`label`: how its curves are named, before what each is of."""

    label: str
    unit: str
    rule: Flat | Proportional


# What a process may add in a day without a restart in a month; a rise that half an hour shows.
KINDS = {
    "private_mib": Kind("memory of", "MiB", Flat(a_day=100, seen_from=3)),
    "threads": Kind("threads of", "threads", Flat(a_day=20, seen_from=2)),
    "open_files": Kind("open files of", "files", Flat(a_day=50, seen_from=15)),
    "processes": Kind("processes of", "processes", Flat(a_day=20, seen_from=2)),
    "cpu_seconds": Kind("CPU of", "s", Proportional(seen_from=10)),
    "connections": Kind("connections to PostgreSQL", "connections", Flat(a_day=20, seen_from=3)),
    "oldest_transaction_seconds": Kind("the oldest transaction", "s", Flat(60, seen_from=5)),
    "queued": Kind("the queue", "requests", Flat(a_day=1_000, seen_from=100)),
    "dead_rows": Kind("dead rows of", "rows", Flat(a_day=100_000, seen_from=20_000)),
    "wasted_mib": Kind("unused space of", "MiB", Flat(a_day=50, seen_from=2)),
    "wal_mib": Kind("WAL", "MiB", Proportional(seen_from=64)),
    # Up to `max_wal_size`, 2 GB here, most of it in the first half.
    "wal_files_mib": Kind("files of WAL", "MiB", Flat(a_day=1_000, seen_from=1_024)),
    "valkey_mib": Kind("Valkey's memory", "MiB", Flat(a_day=100, seen_from=3)),
    "valkey_keys": Kind("Valkey's keys", "keys", Flat(a_day=10_000, seen_from=2_000)),
    "valkey_clients": Kind("Valkey's clients", "clients", Flat(a_day=20, seen_from=5)),
    "valkey_channels": Kind("Valkey's channels", "channels", Flat(a_day=20, seen_from=5)),
    "other_files_mib": Kind("other files", "MiB", Flat(a_day=50, seen_from=2)),
}
RELATION = "relation_mib"
STAYS = Kind("size of", "MiB", Flat(a_day=50, seen_from=1.5))
GROWS = Kind("size of", "MiB", Proportional(seen_from=4))


def judge(samples: Sequence[Sample], minutes: Sequence[Minute]) -> list[Verdict]:
    """One for each curve that has a rule; what grows comes first."""
    verdicts = [*_of_curves(curves(samples)), *_of_latencies(minutes)]
    return sorted(verdicts, key=lambda verdict: not verdict.grows)


def kind_of(name: str) -> Kind | None:
    """The kind of a figure; None: it is shown only.

    Raises:
        KeyError: a table that nobody has said of whether it may grow.
    """
    kind, _, of = name.partition(":")
    if kind != RELATION:
        return None if name in ONLY_SHOWN else KINDS.get(kind)
    table = of.partition("/")[0]
    if table in GROW_WITH_SALES:
        return GROWS
    if table in COME_AND_GO:
        return STAYS
    raise KeyError(table)


def _of_curves(found: Mapping[str, list[Point]]) -> Iterator[Verdict]:
    for name, points in found.items():
        kind = kind_of(name)
        if kind is None:
            continue
        title = f"{kind.label} {name.partition(':')[2]}".rstrip()
        if isinstance(kind.rule, Flat):
            yield judge_flat(title, kind.unit, points, kind.rule)
        else:
            yield judge_proportional(title, kind.unit, points, found[ENTRIES], kind.rule)


def _of_latencies(minutes: Sequence[Minute]) -> Iterator[Verdict]:
    for until in ("accepted", "decided"):
        found = [
            Point(minute.at, summary.p99_ms)
            for minute in minutes
            if (summary := getattr(minute, until)) is not None
        ]
        yield judge_quarters(f"p99 until {until}", "ms", found, P99_TIMES_MAX, P99_SEEN_FROM_MS)
