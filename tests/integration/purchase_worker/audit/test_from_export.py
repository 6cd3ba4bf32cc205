"""A sale is replayed from its export alone, and an export that was changed is accused."""

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from functools import partial, reduce
from hashlib import sha256
from io import BytesIO, StringIO
from operator import getitem
from typing import Any
from uuid import uuid4

import pytest
from rich.console import Console
from sqlalchemy import Engine

from purchase_worker.audit.all_events import audit
from purchase_worker.audit.from_export import (
    ExportUnreadable,
    Replayed,
    replay_export,
    with_happened,
)
from purchase_worker.audit.report_table import show_replayed
from purchase_worker.audit.rows import Happened
from shared.config.settings import Settings
from shared.database.export import export
from shared.purchases import StoredChange
from tests.support.every_kind import Sale
from tests.support.factories import add_event, queue_buy

Lines = list[dict[str, Any]]


@pytest.fixture
def sale(engine: Engine, settings: Settings) -> Sale:
    sale = Sale(engine, settings)
    sale.sell_of_every_kind()
    assert audit(engine, settings).ok
    return sale


@pytest.fixture
def exported(sale: Sale) -> bytes:
    return b"".join(export(sale.engine, sale.event, "ndjson"))


def replay(text: bytes) -> Replayed:
    return replay_export(BytesIO(text))


def forged(text: bytes, forge: Callable[[Lines], object]) -> bytes:
    """The export after `forge` has changed its lines, with a digest that fits."""
    lines = [json.loads(line) for line in text.splitlines()]
    forge(lines)
    *before, end = lines
    written = b"".join(json.dumps(line).encode() + b"\n" for line in before)
    return written + json.dumps(end | {"sha256": sha256(written).hexdigest()}).encode() + b"\n"


def entry(lines: Lines, number: int) -> dict[str, Any]:
    (found,) = (one for one in lines if one["type"] == "entry" and one["entry"]["number"] == number)
    return found


def test_an_export_proves_the_sale_without_its_database(exported: bytes, sale: Sale) -> None:
    replayed = replay(exported)
    assert replayed.examples == {}
    assert replayed.ok
    assert (replayed.event, replayed.entries, replayed.open_holds) == (sale.event, 17, 1)
    assert replayed.sha256 == json.loads(exported.splitlines()[-1])["sha256"]
    # It is a forger's tool that does nothing: what it accuses below was forged there.
    assert replay(forged(exported, lambda lines: None)).ok


def test_a_sale_that_has_not_begun_adds_up(engine: Engine) -> None:
    replayed = replay(b"".join(export(engine, add_event(engine), "ndjson")))
    assert (replayed.ok, replayed.entries) == (True, 0)


def test_an_earlier_export_is_the_beginning_of_a_later_one(exported: bytes, sale: Sale) -> None:
    queue_buy(sale.engine, [(sale.adult, 1)], user_id=sale.user)
    sale.decide()
    later = b"".join(export(sale.engine, sale.event, "ndjson")).splitlines()
    _header, *entries, _end = exported.splitlines()
    assert later[1 : 1 + len(entries)] == entries


def test_an_export_that_is_not_as_written_is_accused(exported: bytes) -> None:
    lines = exported.splitlines(keepends=True)
    for changed in (
        [*lines[:5], *lines[6:]],
        [*lines[:5], lines[6], lines[5], *lines[7:]],
        [*lines, lines[-1]],
        [lines[0], *lines],
        [line.replace(b'"Ann"', b'"Bob"') for line in lines],
    ):
        assert not replay(b"".join(changed)).ok, changed


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda text: b"", "empty"),
        (lambda text: b"number,at\r\n", "not an export"),
        (lambda text: text.splitlines()[-1], "not an export"),
        (lambda text: b"\x00" * 100_000, "not an export"),
        (gzip.compress, "gunzip"),
        (lambda text: text.replace(b'"version":1', b'"version":2'), "another version"),
        (lambda text: text[: len(text) // 2], "cut off after line 1"),
        (lambda text: b"".join(text.splitlines(keepends=True)[:-1]), "cut off after line 24"),
        (lambda text: text.replace(b'{"type":"batch"', b'{"type":"bat"', 1), "Line 2 "),
        (lambda text: text.replace(b'"quantity": 3', b'"quantity": -3'), "quantity"),
        (lambda text: text.replace(b'"seen":"', b'"seen":"x'), "Line 2 "),
        (lambda text: text.replace(b'"confirm"', b'"buy"'), "no whole command to buy"),
        (lambda text: text.replace(b'"at":"2', b'"at":"9'), "9... is not a year"),
        (lambda text: text.replace(b'"first":1', b'"x":' + b"[" * 100_000, 1), "recursion"),
    ],
)
def test_what_is_no_whole_export_is_named(
    exported: bytes, spoil: Callable[[bytes], bytes], sentence: str
) -> None:
    with pytest.raises(ExportUnreadable, match=sentence):
        replay(spoil(exported))


FORGERIES: dict[str, Callable[[Lines], object]] = {
    "who came later is served first": lambda lines: swap(entry(lines, 4), entry(lines, 5)),
    "an entry that is left out": lambda lines: lines.remove(entry(lines, 10)),
    "the last entry that is left out": lambda lines: lines.remove(entry(lines, 17)),
    "a sale that never was": lambda lines: repeat(lines, 4, command=str(uuid4())),
    "a purchase that is decided twice": lambda lines: repeat(lines, 8),
    "the same again at the end": lambda lines: repeat(lines, 17),
    "an outcome": lambda lines: entry(lines, 8)["entry"].update(kind="confirmed", reason=None),
    "more than there is": lambda lines: entry(lines, 8)["command"].update(quantity=1),
    "a limit": lambda lines: entry(lines, 4)["command"].update(event_limit=1),
    "a payment of less": lambda lines: entry(lines, 9)["command"].update(amount="3.00"),
    "a ticket type that is counted twice": lambda lines: lines[0]["ticket_types"].append(
        lines[0]["ticket_types"][0]
    ),
    "all of before the ledger": lambda lines: [
        line.update(ticket_type=lines[0]["ticket_types"][0]["ticket_type"])
        for line in lines
        if line["type"] == "batch"
    ],
}


def swap(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Each has the other's place in the order."""
    for name in ("seq", "accepted_xid", "accepted_at"):
        one["command"][name], other["command"][name] = other["command"][name], one["command"][name]


def repeat(lines: Lines, number: int, command: str | None = None) -> None:
    """An entry once more at the end, with all that counts entries made to fit."""
    again = deepcopy(entry(lines, number))
    last = lines[0]["last"] + 1
    again["entry"]["number"] = lines[0]["last"] = lines[-1]["entries"] = last
    batch = [line for line in lines if line["type"] == "batch"][-1]
    batch["last"] = last
    again["entry"] |= {"batch": batch["first"], "at": batch["at"]}
    if command is not None:
        again["entry"] |= {"command": command, "purchase": command}
    lines.insert(-1, again)


@pytest.mark.parametrize("what", FORGERIES)
def test_a_forgery_with_a_digest_that_fits_is_accused(exported: bytes, what: str) -> None:
    replayed = replay(forged(exported, FORGERIES[what]))
    assert not replayed.ok
    assert replayed.violations >= 1


def pay_nothing(lines: Lines) -> None:
    paid = entry(lines, 9)
    for name in ("payment_reference", "amount", "currency"):
        del paid["command"][name]
    paid["entry"]["payment_reference"] = None


def buy_twice_in_a_cart(lines: Lines) -> None:
    """Of its lines each alone is within a limit."""
    lines_of_cart = entry(lines, 4)["command"]["items"]
    lines_of_cart[1] = lines_of_cart[0]


def test_a_hold_that_is_confirmed_without_a_payment_is_accused(exported: bytes) -> None:
    replayed = replay(forged(exported, pay_nothing))
    assert "without a payment" in replayed.examples["payments"][0]


@pytest.mark.parametrize(
    "forge", [buy_twice_in_a_cart, lambda lines: entry(lines, 4)["command"].pop("user")]
)
def test_a_purchase_that_nobody_could_make_is_named(
    exported: bytes, forge: Callable[[Lines], object]
) -> None:
    with pytest.raises(ExportUnreadable, match="no whole command to buy"):
        replay(forged(exported, forge))


def test_a_terminal_shows_a_forged_text_and_does_not_obey(exported: bytes) -> None:
    replayed = replay(
        forged(exported, lambda lines: entry(lines, 9)["entry"].update(kind="\x1b[8m\x9b2J"))
    )
    with StringIO() as terminal:
        show_replayed(Console(file=terminal, soft_wrap=True), replayed)
        assert "\ufffd[8m" in terminal.getvalue()
        assert not {"\x1b", "\x9b"} & set(terminal.getvalue())


def test_a_purchase_that_is_cancelled_ticket_by_ticket_stays_small() -> None:
    entries: tuple[Happened, ...] = ()
    for happened in [("confirmed", "pi_1", ())] + 3 * [
        ("cancelled", None, (StoredChange(7, 1, 5, 2),))
    ]:
        entries = with_happened(entries, happened)
    assert entries == (
        ("confirmed", "pi_1", ()),
        ("cancelled", None, (StoredChange(7, 0, 0, 6),)),
    )


def leave_out_the_last(lines: Lines) -> None:
    """An expiry that was refused, and all that counts it."""
    lines.remove(entry(lines, 17))
    lines[0]["last"] = lines[-1]["entries"] = 16
    [line for line in lines if line["type"] == "batch"][-1]["last"] = 16


def sell_for_less(lines: Lines) -> None:
    sold = entry(lines, 8)
    sold["command"]["unit_price"] = sold["entry"]["items"][0]["unit_price"] = "1.00"
    sold["entry"]["total_price"] = "9.00"


def sell_to_another(lines: Lines) -> None:
    for line in lines:
        for part in ("entry", "command"):
            if line.get(part, {}).get("buyer") == "Ann":
                line[part]["buyer"] = "Bob"


@pytest.mark.parametrize("forge", [leave_out_the_last, sell_for_less, sell_to_another])
def test_another_sale_that_adds_up_has_another_digest(
    exported: bytes, forge: Callable[[Lines], None]
) -> None:
    """As docs/operations.md says: only that shows it."""
    replayed = replay(forged(exported, forge))
    assert replayed.examples == {}
    assert replayed.sha256 != replay(exported).sha256


# What nothing else in an export contradicts, at least not every change of it: only a comparison of
# the digest finds it.
FREE = {
    # What the sale and its ticket types are called, and who asked for a resolution.
    *("event", "epoch", "ticket_types.name", "command.user", "command.buyer"),
    # When a command was accepted, as long as its place in the order stays right.
    *("command.accepted_at", "command.accepted_xid", "command.seq"),
    # Of a batch of one change of capacity.
    *("seen", "by_drain", "ticket_type"),
    # What a refused command wanted.
    *("refused command.items.ticket_type", "refused command.items.quantity"),
}


def leaves(value: Any, *path: str | int) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, *path, key)
    else:
        yield path


def others(value: Any) -> Iterator[Any]:
    """Values in the place of one."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, value - 1, 2**70, None)
    elif isinstance(value, str):
        yield from (value + "0", "", "2026-01-01T00:00:00.000000Z", None)
    else:
        yield from ("1", 1)


def first_of_each_kind(lines: Lines) -> dict[tuple[Any, ...], int]:
    found: dict[tuple[Any, ...], int] = {}
    for nth, line in enumerate(lines[:-1]):
        kinds = (line[part]["kind"] for part in ("command", "entry") if part in line)
        found.setdefault((line["type"], line.get("by_drain"), *kinds), nth)
    return found


def change(lines: Lines, path: Sequence[str | int], value: Any) -> None:
    *parents, name = path
    reduce(getitem, parents, lines)[name] = value


def test_each_field_of_an_export_is_proven_or_known_to_be_free(exported: bytes) -> None:
    lines: Lines = [json.loads(line) for line in exported.splitlines()]
    free = set()
    for (*_, kind), nth in first_of_each_kind(lines).items():
        for path in leaves(lines[nth], nth):
            for value in others(reduce(getitem, path, lines)):
                forgery = forged(exported, partial(change, path=path, value=value))
                with suppress(ExportUnreadable):
                    if replay(forgery).ok:
                        name = ".".join(part for part in path if isinstance(part, str))
                        free.add(name if name in FREE else f"{kind} {name}")
    assert free == FREE
