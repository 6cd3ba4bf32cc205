"""A sale is replayed from its export alone, and an export that was changed is accused."""

import io
import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from sqlalchemy import Engine

from purchase_worker.audit.from_export import Replayed, replay_export
from purchase_worker.audit.report import audit
from shared.config.settings import Settings
from shared.database.export import export
from shared.errors import ConfigurationError
from tests.support.every_kind import Sale

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
    return replay_export(io.BytesIO(text))


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


def test_an_export_that_is_not_whole_or_not_as_written_is_accused(exported: bytes) -> None:
    lines = exported.splitlines(keepends=True)
    for changed in (
        lines[:-1],
        lines[: len(lines) // 2],
        [*lines[:5], *lines[6:]],
        [*lines[:5], lines[6], lines[5], *lines[7:]],
        [*lines, lines[-1]],
        [line.replace(b'"Ann"', b'"Bob"') for line in lines],
        [lines[0], b"{}\n", *lines[1:]],
    ):
        assert not replay(b"".join(changed)).ok, changed


FORGERIES: dict[str, Callable[[Lines], object]] = {
    "an outcome": lambda lines: entry(lines, 8)["entry"].update(kind="confirmed", reason=None),
    "what was left": lambda lines: entry(lines, 5)["entry"]["items"][0].update(left_after=6),
    "a buyer": lambda lines: entry(lines, 9)["entry"].update(buyer="Bob"),
    "a price": lambda lines: entry(lines, 4)["entry"].update(total_price="3.00"),
    "a payment": lambda lines: entry(lines, 9)["command"].update(amount="3.00"),
    "a time": lambda lines: entry(lines, 6)["entry"].update(at="2026-01-01T00:00:00.000000Z"),
    "an order": lambda lines: entry(lines, 6)["command"].update(seq=1),
    "a counter": lambda lines: lines[0]["ticket_types"][0].update(sold=9),
    "an entry that is left out": lambda lines: lines.remove(entry(lines, 10)),
    "a purchase": lambda lines: entry(lines, 10)["entry"].update(
        purchase=entry(lines, 9)["entry"]["purchase"]
    ),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_a_forgery_with_a_digest_that_fits_is_accused(exported: bytes, what: str) -> None:
    replayed = replay(forged(exported, FORGERIES[what]))
    assert not replayed.ok
    assert replayed.violations >= 1


def test_what_is_no_export_is_said_to_be_none() -> None:
    for text in (b"", b"number,at\n", b'{"type":"end","entries":1,"sha256":""}\n'):
        with pytest.raises(ConfigurationError):
            replay(text)
