"""Compares what the buyers saw with the rows, and reports every broken promise. Pure."""

from collections import Counter as Count
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from tests.chaos.history import Attempt, Evidence, Fate, Outcome, Row, Window

QUEUED, CONFIRMED, HELD = "queued", "confirmed", "held"
# What a hold is when it was ended so.
ENDED_BY = {"confirm": CONFIRMED, "release": "released"}
# Refusals without a purchase that a valid buyer may get in a round (docs/api.md): of what is sold
# out, held or beyond a limit, and of a body that came while the gateway was stopped. Nobody comes
# too often, for the limits of pace are off.
LAWFUL_REFUSALS = frozenset(
    (
        (400, "not_enough_tickets"),
        (400, "all_held"),
        (400, "over_user_limit"),
        (408, "body_too_slow"),
    )
)
# While PostgreSQL is unavailable, a buyer gets a 503 within this time (docs/faults.md).
UNAVAILABLE_WITHIN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Violation:
    promise: str
    detail: str


def check(evidence: Evidence) -> list[Violation]:
    """Every violation of the promises that hold during any fault."""
    return [
        Violation(promise, detail)
        for promise, find in PROMISES.items()
        for detail in find(evidence)
    ]


def oversold(evidence: Evidence) -> Iterator[str]:
    tickets: Count[tuple[str, int]] = Count()
    for row in evidence.rows:
        for ticket_type_id, quantity in row.lines:
            tickets[row.ended or row.status, ticket_type_id] += quantity
    for counter in evidence.counters:
        id_ = counter.ticket_type_id
        held, sold = tickets[HELD, id_], tickets[CONFIRMED, id_]
        if held + sold > counter.issued:
            yield f"{held} held and {sold} sold of {counter.issued} tickets of type {id_}"
        if (held, sold) != (counter.held, counter.sold):
            counted = f"counted {counter.held} and {counter.sold}"
            yield f"{held} held and {sold} sold of type {id_}, {counted}"


def lost(evidence: Evidence) -> Iterator[str]:
    """What was acknowledged has its row, whole and decided."""
    by_id = {row.id: row for row in evidence.rows}
    for attempt in _with(evidence, Fate.ACKNOWLEDGED):
        row = by_id.get(attempt.purchase_id or "")
        if row is None:
            yield f"{attempt.purchase_id} was acknowledged ({attempt.status}) and has no row"
        elif not _is_what_was_asked(row, attempt):
            yield f"{row.id} is not what was asked for: {row}, {attempt}"


def undecided(evidence: Evidence) -> Iterator[str]:
    for row in evidence.rows:
        if row.status == QUEUED:
            yield f"{row.id} is still queued"


def decided_twice(evidence: Evidence) -> Iterator[str]:
    """A purchase has one entry, and the entries of an event are 1, 2, 3 ..."""
    for id_, entries in Count(row.id for row in evidence.rows).items():
        if entries > 1:
            yield f"{id_} has {entries} entries"
    for lane in evidence.lanes:
        if sorted(lane.numbers) != list(range(1, lane.number + 1)):
            yield f"of {lane.number} entries of event {lane.event_id}: {sorted(lane.numbers)}"


def sold_in_part(evidence: Evidence) -> Iterator[str]:
    """A purchase gets all of its lines or none."""
    for row in evidence.rows:
        if row.status == QUEUED:
            continue
        taken = -1 if row.status in (CONFIRMED, HELD) else 0
        if row.changes != [[id_, taken * quantity] for id_, quantity in row.lines]:
            yield f"{row.id} is {row.status} and changed {row.changes}"


def half_done(evidence: Evidence) -> Iterator[str]:
    """A request without an answer left a whole row or none; a 4xx left none."""
    attempts = {attempt.request_id: attempt for attempt in evidence.history.attempts}
    for row in evidence.rows:
        attempt = attempts.get(row.request_id)
        if attempt is None:
            yield f"{row.id} was not requested"
        elif attempt.fate is Fate.ERROR:
            yield f"{row.id} was answered with {attempt.status} and has a row"
        elif not _is_what_was_asked(row, attempt):
            yield f"{row.id} is not what was asked for: {row}, {attempt}"


def changed(evidence: Evidence) -> Iterator[str]:
    """An outcome that was shown is the one in the row."""
    by_id = {row.id: row for row in evidence.rows}
    for sighting in evidence.history.sightings:
        row = by_id.get(sighting.purchase_id)
        if row is None:
            yield f"{sighting.by} saw {sighting.purchase_id} {sighting.outcome}, and it has no row"
        elif not _agree(sighting.outcome, row):
            yield f"{sighting.by} saw {row.id} {sighting.outcome}, and now it is {row}"


def charged_for_nothing(evidence: Evidence) -> Iterator[str]:
    """Who was told that he ended a hold did so, and nobody else: paid and sold, or given back."""
    by_id = {row.id: row for row in evidence.rows}
    for end in evidence.history.hold_ends:
        row = by_id.get(end.purchase_id)
        if row is None:  # it is lost, see there
            continue
        is_ended = row.ended == ENDED_BY[end.action] and (row.paid_by or "") == end.reference
        if end.status != (200 if is_ended else 409):
            yield f"{end.action} of {row.id} was answered {end.status}: {row}"


def published_too_early(evidence: Evidence) -> Iterator[str]:
    for purchase_id in evidence.history.published_too_early:
        yield f"the result of {purchase_id} was published before it was committed"


def told_wrong(evidence: Evidence) -> Iterator[str]:
    """A receiver got each entry as the ledger has it, and after all before it: at least once."""
    for told in evidence.deliveries:
        event = f"event {told.event_id}"
        numbers = [entry["number"] for entry in told.entries]
        missing = {entry["number"] for entry in told.ledger} - {*numbers}
        if missing:
            yield f"of {event} were not received: {sorted(missing)}"
        for before, number in pairwise([0, *numbers]):
            if number > before + 1:
                yield f"of {event} came {number} after {before}"
        known = {entry["number"]: entry for entry in told.ledger}
        for entry in told.entries:
            if entry != known.get(entry["number"]):
                yield f"of {event} came {entry}, and its ledger has {known.get(entry['number'])}"


def not_replayable(evidence: Evidence) -> Iterator[str]:
    yield from evidence.replay


def out_of_turn(evidence: Evidence) -> Iterator[str]:
    """Whoever was acknowledged before another asked is decided before it."""
    rows = {row.id: row for row in evidence.rows}
    sent_at: dict[str, float] = {}
    known_at: dict[str, float] = {}
    purchases = {row.request_id: row.id for row in evidence.rows}
    for attempt in evidence.history.attempts:
        # A purchase may come of any attempt with its key; the first may have been the one.
        id_ = attempt.purchase_id or purchases.get(attempt.request_id)
        if id_ is None:
            continue
        sent_at[id_] = min(sent_at.get(id_, attempt.sent_at), attempt.sent_at)
        if attempt.fate is Fate.ACKNOWLEDGED:
            known_at[id_] = min(known_at.get(id_, attempt.answered_at), attempt.answered_at)
    by_event: dict[int, list[Row]] = {}
    for id_ in sent_at:
        if id_ in rows and rows[id_].number is not None:
            by_event.setdefault(rows[id_].event_id, []).append(rows[id_])
    for decided in by_event.values():
        first_known, its_id = float("inf"), ""
        for row in sorted(decided, key=lambda row: row.number or 0, reverse=True):
            if first_known < sent_at[row.id]:
                yield f"{row.id} was decided before {its_id}, which was acknowledged before it came"
            if known_at.get(row.id, float("inf")) < first_known:
                first_known, its_id = known_at[row.id], row.id


def one_key_two_purchases(evidence: Evidence) -> Iterator[str]:
    named: dict[tuple[int, str], set[str]] = {}
    for row in evidence.rows:
        if row.key is not None:
            named.setdefault((row.user_id, row.key), set()).add(row.id)
    for attempt in _with(evidence, Fate.ACKNOWLEDGED):
        named.setdefault((attempt.user_id, attempt.key), set()).add(attempt.purchase_id or "")
    for (user_id, key), ids in named.items():
        if len(ids) > 1:
            yield f"key {key} of user {user_id} made {sorted(ids)}"


def crashed(evidence: Evidence) -> Iterator[str]:
    """A fault from outside is a 503, and no crash."""
    statuses = Count(
        attempt.status
        for attempt in evidence.history.attempts
        if attempt.status is not None and attempt.status >= 500 and attempt.status != 503
    )
    for status, count in statuses.items():
        yield f"{count} requests were answered with {status}"


def refused(evidence: Evidence) -> Iterator[str]:
    """Every buyer is valid and the sale is open: a fault is never taken for the buyer's own."""
    refusals = Count((a.status, a.code) for a in _with(evidence, Fate.ERROR))
    for (status, code), count in refusals.items():
        if (status, code) not in LAWFUL_REFUSALS:
            yield f"{count} requests were answered with {status} {code}"


Finder = Callable[[Evidence], Iterable[str]]
PROMISES: dict[str, Finder] = {
    "never oversold": oversold,
    "nothing acknowledged is lost": lost,
    "all is decided": undecided,
    "one decision each": decided_twice,
    "all lines of a purchase or none": sold_in_part,
    "an unknown answer is never half done": half_done,
    "an outcome seen never changes": changed,
    "a payment and a hold have one outcome": charged_for_nothing,
    "Redis is never ahead of PostgreSQL": published_too_early,
    "receivers get every entry in order": told_wrong,
    "the replay gives the same outcomes": not_replayable,
    "first come, first served": out_of_turn,
    "the same key gives the same purchase": one_key_two_purchases,
    "a fault is answered with 503 at worst": crashed,
    "nobody is refused without a reason": refused,
}


def goes_on(evidence: Evidence, window: Window) -> list[Violation]:
    """While the fault lasts, purchases are accepted and decided."""
    inside = [a for a in _with(evidence, Fate.ACKNOWLEDGED) if window.holds(a)]
    seen = {s.purchase_id for s in evidence.history.sightings if s.seen_at <= window.heals_at}
    if not inside:
        return [Violation("sales go on", "no purchase was accepted while the fault lasted")]
    if not any(attempt.purchase_id in seen for attempt in inside):
        return [Violation("sales go on", f"none of {len(inside)} was decided while it lasted")]
    return []


def is_unavailable(evidence: Evidence, window: Window) -> list[Violation]:
    """While the fault lasts, every request gets a 503, and soon.

    Of one without an answer by the healing it is known how long it had none.
    """
    sent = [a for a in evidence.history.attempts if window.struck_at <= a.sent_at < window.heals_at]
    inside = [a for a in sent if window.holds(a)]
    found = [f"{a.fate} ({a.status})" for a in inside if a.fate is not Fate.UNAVAILABLE]
    slowest = max((min(a.answered_at, window.heals_at) - a.sent_at for a in sent), default=0.0)
    if slowest > UNAVAILABLE_WITHIN_SECONDS + machine_lag_seconds(evidence, window):
        found.append(f"the answer took {slowest:.1f} s")
    if not inside:
        found.append("no request was sent while the fault lasted")
    return [
        Violation("503 within 2 s while PostgreSQL is unavailable", f"{what}, {count} times")
        for what, count in Count(found).items()
    ]


def machine_lag_seconds(evidence: Evidence, window: Window) -> float:
    """How much slower the machine was, by answers that need no database. A gateway that does not
    give those either has no such excuse.
    """
    pulses = (p for p in evidence.history.pulses if window.touches(p))
    slowest = max((p.answered_at - p.sent_at for p in pulses), default=0.0)
    return min(slowest, UNAVAILABLE_WITHIN_SECONDS)


def _with(evidence: Evidence, fate: Fate) -> Iterator[Attempt]:
    return (attempt for attempt in evidence.history.attempts if attempt.fate is fate)


def _is_what_was_asked(row: Row, attempt: Attempt) -> bool:
    return (row.user_id, row.lines, row.key) == (attempt.user_id, attempt.lines, attempt.key)


def _agree(seen: Outcome, row: Row) -> bool:
    return (
        seen.status in (row.status, row.ended)
        and seen.reason == row.reason
        and seen.decided_at in (None, row.decided_at)
    )
