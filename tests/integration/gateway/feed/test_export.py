"""The whole ledger over HTTP: as lines of JSON, and as a table that a spreadsheet can trust."""

import csv
import io
from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import Engine

from purchase_worker.audit.from_export import replay_export
from shared.config.settings import Settings
from shared.database.export import ROWS, export, harmless
from tests.support.every_kind import Sale
from tests.support.factories import add_user, queue_buy, queue_many, run
from tests.support.gateways import authorization, running_gateway

NDJSON, CSV = {"Accept": "application/x-ndjson"}, {"Accept": "text/csv"}


@pytest.fixture
def sale(engine: Engine, settings: Settings) -> Sale:
    sale = Sale(engine, settings)
    sale.sell_of_every_kind()
    return sale


@pytest.fixture
def reader(sale: Sale, settings: Settings) -> Iterator[httpx.Client]:
    with running_gateway(settings, user_id=sale.owner) as client:
        yield client


def test_the_export_over_http_is_that_of_the_command_and_replays(
    sale: Sale, reader: httpx.Client
) -> None:
    queue_many(sale.engine, sale.adult, 2 * ROWS)
    sale.decide()
    answer = reader.get(f"/api/events/{sale.event}/ledger/", headers=NDJSON)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.content == b"".join(export(sale.engine, sale.event, "ndjson"))
    replayed = replay_export(io.BytesIO(answer.content))
    assert replayed.examples == {}
    assert replayed.entries == 17 + 2 * ROWS


def test_the_table_has_a_row_for_each_ticket_type_of_an_entry(
    sale: Sale, reader: httpx.Client
) -> None:
    run(sale.engine, "UPDATE ticket_types SET name = '=1+1' WHERE id = :id", id=sale.child)
    queue_buy(sale.engine, [(sale.child, 1)], user_id=sale.user, buyer="@SUM(1)")
    sale.decide()
    answer = reader.get(f"/api/events/{sale.event}/ledger/", headers=CSV)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    table = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [int(row["number"]) for row in table] == [
        1,
        2,
        3,
        4,
        4,
        *range(5, 15),
        14,
        15,
        16,
        17,
        18,
    ]
    paid, last = table[9], table[-1]
    assert (paid["kind"], paid["payment_reference"], paid["buyer"]) == ("confirmed", "pi_1", "Ann")
    assert (paid["quantity"], paid["unit_price"], paid["amount"]) == ("3", "10.00", "30.00")
    assert paid["currency"] == "EUR"
    # Numbers stay numbers; what somebody typed is no formula.
    assert (last["change"], last["buyer"], last["ticket_type_name"]) == ("-1", "'@SUM(1)", "'=1+1")


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\ta", "＝1"])
def test_no_text_is_a_formula(text: str) -> None:
    assert harmless(text) == f"'{text}"
    assert harmless("1-1") == "1-1"


def test_an_export_is_its_owners_and_has_no_parameters(
    sale: Sale, reader: httpx.Client, settings: Settings
) -> None:
    path = f"/api/events/{sale.event}/ledger/"
    stranger = authorization(settings, add_user(sale.engine))
    assert reader.get(path, headers=stranger | CSV).status_code == 403
    assert reader.get("/api/events/999999/ledger/", headers=CSV).status_code == 404
    answer = reader.get(path, params={"after": 1}, headers=CSV)
    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["after"])
    assert reader.head(path, headers=CSV).status_code == 200
