"""Exports that end before their time; each has a gateway and a database of its own."""

import io
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice

import httpx
import pytest
from sqlalchemy import Engine

from purchase_worker.audit.from_export import ExportUnreadable, replay_export
from shared.config.settings import Settings
from shared.database.export import ROWS, Format, export
from shared.database.ledger import LedgerBroken
from tests.support.every_kind import Sale
from tests.support.factories import queue_many, tamper
from tests.support.gateways import running_gateway
from tests.support.servers import unreachable
from tests.support.waiting import eventually

NDJSON, CSV = {"Accept": "application/x-ndjson"}, {"Accept": "text/csv"}


@pytest.fixture
def long_sale(engine: Engine, settings: Settings) -> Sale:
    """More than the buffers of a connection take."""
    sale = Sale(engine, settings)
    queue_many(sale.engine, sale.adult, 20 * ROWS)
    sale.decide()
    return sale


@pytest.fixture
def reader(long_sale: Sale, settings: Settings) -> Iterator[httpx.Client]:
    with running_gateway(settings, user_id=long_sale.owner) as client:
        yield client


def test_an_export_whose_database_fails_is_cut_off(
    long_sale: Sale, reader: httpx.Client, settings: Settings, postgres_url: str
) -> None:
    path = f"/api/events/{long_sale.event}/ledger/"
    with reader.stream("GET", path, headers=NDJSON) as answer:
        assert answer.status_code == 200
        parts, read = answer.iter_raw(), []
        read.append(next(parts))
        with (
            unreachable(postgres_url, settings.database_url),
            pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"),
        ):
            read.extend(parts)
    with pytest.raises(ExportUnreadable, match="incomplete"):
        replay_export(io.BytesIO(b"".join(read)))


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_an_export_without_its_newest_entry_is_broken(
    engine: Engine, settings: Settings, form: Format
) -> None:
    sale = Sale(engine, settings)
    sale.sell_of_every_kind()
    newest = f"(SELECT number FROM lanes WHERE event_id = {sale.event})"
    tamper(engine, f"DELETE FROM ledger WHERE event_id = {sale.event} AND number = {newest}")
    parts = islice(export(engine, sale.event, form), 10)
    with pytest.raises(LedgerBroken):
        list(parts)


def test_who_leaves_an_export_may_begin_others(long_sale: Sale, reader: httpx.Client) -> None:
    path = f"/api/events/{long_sale.event}/ledger/"

    def begin(exports: ExitStack) -> int:
        answer = exports.enter_context(reader.stream("GET", path, headers=CSV))
        return answer.status_code

    with ExitStack() as exports:
        assert [begin(exports) for _ in range(3)] == [200, 200, 503]

    def may_begin() -> None:
        with ExitStack() as again:
            assert [begin(again) for _ in range(2)] == [200, 200]

    eventually(may_begin)
