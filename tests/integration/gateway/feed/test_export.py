"""The whole ledger over HTTP: as lines of JSON, and as a table that a spreadsheet can trust."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from purchase_worker.audit.from_export import replay_export
from shared.config.settings import Settings
from shared.database.export import ROWS, export, harmless
from tests.support.every_kind import Sale
from tests.support.factories import add_user, queue_buy, queue_many, run
from tests.support.gateways import authorization, client_of
from tests.support.servers import new_database

NDJSON, CSV = {"Accept": "application/x-ndjson"}, {"Accept": "text/csv"}


@pytest.fixture(scope="module")
def settings(postgres_url: str, valkey_url: str, keys_dir: Path) -> Iterator[Settings]:
    """Of one gateway for all tests here; each has a sale of its own."""
    with new_database(postgres_url) as url:
        yield Settings(
            database_url=url,
            redis_url=valkey_url,
            keys_dir=keys_dir,
            feed_rate_burst=0,
            answer_timeout_seconds=10.0,
            drain_max_seconds=60.0,
        )


@pytest.fixture
def sale(engine: Engine, settings: Settings) -> Sale:
    sale = Sale(engine, settings)
    sale.sell_of_every_kind()
    return sale


@pytest.fixture
def reader(sale: Sale, settings: Settings, gateway_url: str) -> Iterator[httpx.Client]:
    with client_of(gateway_url, settings, sale.owner) as client:
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
    assert answer.content.startswith(b"\xef\xbb\xbfnumber,")
    assert answer.content.count(b"\n") == answer.content.count(b"\r\n") == 21
    text = answer.content.decode("utf-8-sig")
    table = list(csv.DictReader(io.StringIO(text, newline="")))
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


@pytest.mark.parametrize(
    "text",
    ["=1", "+1", "-1", "@a", "\ta", "\ra", "\na", "＝1", '"=1', " =1", "\u00a0\"'@a", "\ufeff=1"],
)
def test_no_text_is_a_formula(text: str) -> None:
    assert harmless(text) == f"'{text}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("x;=1+1", "x;'=1+1"), ("x; @a;+1", "x;' @a;'+1"), ("Zoë\n+49 30", "Zoë\n'+49 30")],
)
def test_no_part_of_a_text_is_a_formula_where_cells_end_with_a_semicolon(
    text: str, shown: str
) -> None:
    assert harmless(text) == shown


@pytest.mark.parametrize("text", ["", "1-1", "O'Hara", '"Ann" = Anna', "Zoë\n49 30", "a; b", " x"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert harmless(text) == text


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


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("image/png", "application/json"),
        ("text/*", "text/csv; charset=utf-8; header=present"),
        ("text/csv;q=0.5, application/x-ndjson", "application/x-ndjson"),
        (
            "text/csv;q=0.5, application/x-ndjson;q=0.4, */*;q=0.1",
            "text/csv; charset=utf-8; header=present",
        ),
        ("text/csv;q=0, */*", "application/json"),
    ],
)
def test_the_form_is_what_the_client_prefers(
    sale: Sale, reader: httpx.Client, accept: str, media_type: str
) -> None:
    path = f"/api/events/{sale.event}/ledger/"
    for method in ("GET", "HEAD"):
        answer = reader.request(method, path, headers={"Accept": accept})
        assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
        assert bool(answer.content) == (method == "GET")
        if media_type != "application/json":
            form = "csv" if "csv" in media_type else "ndjson"
            own = reader.request(method, f"{path}{form}/", headers={"Accept": "application/json"})
            assert (own.content, own.headers["content-type"]) == (answer.content, media_type)
            name = f"event-{sale.event}.{form}"
            assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'


def test_texts_of_several_lines_and_with_quotes_come_back_as_they_were(
    sale: Sale, reader: httpx.Client
) -> None:
    buyer, name = 'Zoë "Zo" O\'Hara,\n2nd line', "Front; row\r\nleft, €"
    run(
        sale.engine, "UPDATE ticket_types SET name = :name WHERE id = :id", id=sale.child, name=name
    )
    queue_buy(sale.engine, [(sale.child, 1)], user_id=sale.user, buyer=buyer)
    sale.decide()
    answer = reader.get(f"/api/events/{sale.event}/ledger/", headers=CSV)
    *_, last = csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline=""))
    assert (last["buyer"], last["ticket_type_name"]) == (buyer, name)
