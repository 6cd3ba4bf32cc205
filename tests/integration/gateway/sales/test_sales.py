"""Published sales: for everybody, from memory, and never older than a second while the database
answers. Redis is away all the time."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from sqlalchemy import Engine
from starlette.types import Message, Receive, Scope, Send

from gateway.sales.reader import FRESH_SECONDS, NEW_OF_TURN_MAX, SaleReader
from gateway.sales.routes import SaleRoutes
from gateway.sales.store import LIST_MAX, LISTED_OF_OWNER, TICKET_TYPES_MAX, read_list
from gateway.unread_responses import LARGE_BYTES, UnreadResponses
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.errors import NotFound, Unavailable
from shared.web.public_address import PublicAddresses
from tests.support.factories import add_event, add_ticket_type, add_user, run
from tests.support.figures import figures
from tests.support.gateways import running_gateway
from tests.support.servers import new_database, unreachable
from tests.support.waiting import eventually

T = TypeVar("T")
CROWD = 300


@pytest.fixture(scope="module")
def sales_settings(postgres_url: str, keys_dir: Path) -> Iterator[Settings]:
    with new_database(postgres_url) as url:
        yield Settings(database_url=url, redis_url="redis://127.0.0.1:1/0", keys_dir=keys_dir)


@pytest.fixture(scope="module")
def database(sales_settings: Settings) -> Iterator[Engine]:
    engine = open_engine(sales_settings, "test", pool_size=2)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def anybody(sales_settings: Settings) -> Iterator[httpx.Client]:
    """A client without a token."""
    with running_gateway(sales_settings, ready="/healthz") as client:
        yield client


def published(database: Engine, capacity: int = 5, **columns: Any) -> int:
    event = add_event(database)
    add_ticket_type(database, capacity, event_id=event, **columns)
    run(database, "UPDATE events SET published = true WHERE id = :id", id=event)
    return event


def path(event: int) -> str:
    return f"/api/sales/{event}/"


def sees_it_within_a_second(
    client: httpx.Client, path: str, is_seen: Callable[[httpx.Response], bool]
) -> None:
    """Of a change that was just committed. A document that took longer says that it is stale."""
    committed_at = time.monotonic()
    while True:
        asked_at = time.monotonic()
        response = client.get(path)
        if is_seen(response):
            return
        if response.is_success and response.json()["stale"]:
            continue
        assert asked_at - committed_at < FRESH_SECONDS, response.text


def test_everybody_reads_a_published_sale(anybody: httpx.Client, database: Engine) -> None:
    event = published(database)
    read = anybody.get(path(event))
    assert read.status_code == 200
    assert read.headers["Cache-Control"] == "public, max-age=1, stale-while-revalidate=5"
    assert read.headers["Content-Type"] == "application/json"
    sale = read.json()
    assert (sale["event"], sale["title"], sale["stale"]) == (event, "Concert", False)
    (seat,) = sale["ticket_types"]
    assert (seat["state"], seat["price"], seat["left"]) == ("on_sale", "25.00", None)
    head = anybody.head(path(event))
    assert (head.content, head.headers["ETag"]) == (b"", read.headers["ETag"])
    tags = {"If-None-Match": f'"other", {read.headers["ETag"]}'}
    unchanged = anybody.get(path(event), headers=tags)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["ETag"] == read.headers["ETag"]


def test_the_list_has_the_published_events_that_have_not_ended(
    anybody: httpx.Client, database: Engine
) -> None:
    later, sooner, ended = (published(database) for _ in range(3))
    run(database, "UPDATE events SET start_time = now() WHERE id = :id", id=sooner)
    run(
        database,
        "UPDATE events SET start_time = now() - interval '1 hour', end_time = now() WHERE id = :id",
        id=ended,
    )
    add_event(database)  # not published

    def is_listed(response: httpx.Response) -> bool:
        listed = [one["event"] for one in response.json()["sales"]]
        return [one for one in listed if one in (later, sooner, ended)] == [sooner, later]

    sees_it_within_a_second(anybody, "/api/sales/", is_listed)
    assert {one["state"] for one in anybody.get("/api/sales/").json()["sales"]} == {"on_sale"}


def test_one_owners_events_do_not_push_others_off_the_list(engine: Engine) -> None:
    owner = add_user(engine)
    run(
        engine,
        "INSERT INTO events (title, start_time, end_time, owner_id, published)"
        " SELECT 'For ever', '0001-01-01Z', '9999-01-01Z', :owner, true"
        " FROM generate_series(1, :how_many)",
        owner=owner,
        how_many=LIST_MAX + 1,
    )
    assert len(read_list(engine).sales) == LIST_MAX
    others = {published(engine) for _ in range(LISTED_OF_OWNER + 1)}
    listed = [sale.event for sale in read_list(engine).sales]
    assert len(listed) == LIST_MAX
    assert others < set(listed)
    assert others == set(listed[-len(others) :])  # in order of time all the same


@pytest.mark.parametrize(
    ("change", "is_seen"),
    [
        ("UPDATE events SET notice = 'Late' WHERE id = :id", '"notice":"Late"'),
        ("UPDATE events SET show_left = true WHERE id = :id", '"left":5'),
        ("UPDATE ticket_types SET paused_at = now() WHERE event_id = :id", '"state":"paused"'),
        (
            "SELECT eventify_issue(id, -5) FROM ticket_types WHERE event_id = :id",
            '"state":"sold_out"',
        ),
        ("UPDATE events SET published = false WHERE id = :id", '"code":"not_found"'),
    ],
)
def test_a_change_is_seen_within_a_second_whoever_made_it(
    anybody: httpx.Client, database: Engine, change: str, is_seen: str
) -> None:
    event = published(database)
    before = anybody.get(path(event))
    assert is_seen not in before.text
    run(database, change, id=event)
    sees_it_within_a_second(anybody, path(event), lambda response: is_seen in response.text)


def test_after_an_idle_time_the_first_read_is_fresh(
    anybody: httpx.Client, database: Engine
) -> None:
    idle, busy = published(database), published(database)
    assert anybody.get(path(idle)).json()["notice"] == ""
    run(database, "UPDATE events SET notice = 'Late' WHERE id = :id", id=idle)

    def now() -> datetime:
        return datetime.fromisoformat(anybody.get(path(busy)).json()["now"])

    changed_at = now()

    def a_second_is_over() -> None:
        assert (now() - changed_at).total_seconds() > FRESH_SECONDS

    eventually(a_second_is_over)
    assert anybody.get(path(idle)).json()["notice"] == "Late"


def test_a_sale_opens_at_its_moment(anybody: httpx.Client, database: Engine) -> None:
    event = published(database)
    run(
        database,
        "UPDATE ticket_types SET sales_start = now() + interval '1.5 seconds' WHERE event_id = :id",
        id=event,
    )

    def is_closed() -> None:
        assert anybody.get(path(event)).json()["ticket_types"][0]["state"] == "not_open"

    eventually(is_closed)
    states: set[str] = set()
    while "on_sale" not in states:
        sale, listed = anybody.get(path(event)).json(), anybody.get("/api/sales/").json()
        (seat,) = sale["ticket_types"]
        in_list = [(listed, row["state"]) for row in listed["sales"] if row["event"] == event]
        opens = datetime.fromisoformat(seat["sales_start"])
        for document, state in ((sale, seat["state"]), *in_list):
            now = datetime.fromisoformat(document["now"])
            # The time in a document is cut to milliseconds.
            if abs((opens - now).total_seconds()) > 0.001:
                assert state == ("not_open" if now < opens else "on_sale")
        states.update(state for _, state in in_list)


def test_what_is_not_published_is_as_if_it_were_not_there(
    anybody: httpx.Client, database: Engine
) -> None:
    hidden = add_event(database)
    add_ticket_type(database, 5, event_id=hidden)
    run(database, "UPDATE events SET show_left = true WHERE id = :id", id=hidden)

    def shown(id_: object) -> tuple[int, bytes, dict[str, str]]:
        response = anybody.get(f"/api/sales/{id_}/")
        others = {n: v for n, v in response.headers.items() if n not in ("x-request-id", "date")}
        return response.status_code, response.content, others

    status, _, headers = shown(hidden)
    assert (status, headers["cache-control"]) == (404, "public, max-age=1")
    for other in (hidden + 10_000, 2**63 - 1, 2**63, 0, "x", f"{hidden}/x", ""):
        assert shown(other) == shown(hidden)
    listed = anybody.get("/api/sales/").json()["sales"]
    assert hidden not in [one["event"] for one in listed]


def test_a_large_sale_shows_its_oldest_ticket_types(
    anybody: httpx.Client, database: Engine
) -> None:
    event = published(database)
    many = (
        "INSERT INTO ticket_types (event_id, name, price)"
        " SELECT :id, n || repeat('é', 190), 1 FROM generate_series(2, 210) n"
    )
    run(database, many, id=event)
    sees_it_within_a_second(anybody, path(event), lambda response: len(response.content) > 65_536)
    read = anybody.get(path(event))
    ids = [one["id"] for one in read.json()["ticket_types"]]
    assert ids == list(range(ids[0], ids[0] + TICKET_TYPES_MAX))
    head = anybody.head(path(event))
    assert (head.content, int(head.headers["Content-Length"])) == (b"", len(read.content))


def test_unknown_parameters_and_other_methods_are_refused(
    anybody: httpx.Client, database: Engine
) -> None:
    event = published(database)
    for one in ("/api/sales/", path(event)):
        refused = anybody.get(one, params={"left": "1"})
        assert (refused.status_code, list(refused.json()["errors"])) == (400, ["left"])
        refused = anybody.post(one, json={})
        assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD")


def test_a_crowd_costs_the_database_one_read(database: Engine, sales_settings: Settings) -> None:
    event = published(database)

    async def read_as_a_crowd(reader: SaleReader) -> int:
        before = reads()
        first = asyncio.create_task(reader.sale(event))
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # now it reads
        answers = await asyncio.gather(first, *(reader.sale(event) for _ in range(CROWD)))
        answers += await asyncio.gather(*(reader.sale(event) for _ in range(CROWD)))
        assert {answer.document.tag for answer in answers} == {answers[0].document.tag}
        return reads() - before

    assert in_process(sales_settings, read_as_a_crowd) == 1


def test_a_flood_of_unknown_ids_is_looked_up_together_and_not_at_once_again(
    database: Engine, sales_settings: Settings
) -> None:
    event = published(database)

    async def flood(reader: SaleReader) -> tuple[list[int], int]:
        before = reads()
        known = await reader.sale(event)
        found = []
        for _ in range(3):
            asked = (reader.sale(event + 10_000 + n) for n in range(CROWD))
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert {type(answer) for answer in answers} <= {NotFound, Unavailable}
            found.append(sum(isinstance(answer, NotFound) for answer in answers))
            assert (await reader.sale(event)).document.tag == known.document.tag
        return found, reads() - before

    # Those that are too many for one read come with the next, and none comes twice in a second.
    assert in_process(sales_settings, flood) == ([NEW_OF_TURN_MAX, CROWD, CROWD], 3)


def test_who_reads_a_large_sale_slowly_keeps_it_from_nobody_else(
    database: Engine, sales_settings: Settings
) -> None:
    event = published(database)
    run(
        database,
        "INSERT INTO ticket_types (name, price, event_id)"
        " SELECT repeat('n', 200), 1, :id FROM generate_series(1, 199)",
        id=event,
    )

    async def ask(routes: SaleRoutes, address: str, send: Send) -> None:
        scope = {"type": "http", "method": "GET", "path": path(event), "query_string": b""}
        scope |= {"headers": [], "client": (address, 1), "request_id": "1"}
        await routes(scope, never_receives, send)

    async def two_addresses(reader: SaleReader) -> list[int]:
        unread = UnreadResponses(16 * LARGE_BYTES, timeout_seconds=30)
        routes = SaleRoutes(reader, unread, PublicAddresses("", ""), never_asked)
        statuses: list[int] = []
        is_stuck, never = asyncio.Event(), asyncio.Event()

        async def note(message: Message) -> None:
            statuses.extend([message["status"]] if "status" in message else [])

        async def stick(_message: Message) -> None:
            is_stuck.set()
            await never.wait()

        slow = asyncio.create_task(ask(routes, "192.0.2.1", stick))
        await is_stuck.wait()
        for address in ("192.0.2.1", "192.0.2.2"):
            await ask(routes, address, note)
        slow.cancel()
        return statuses

    assert in_process(sales_settings, two_addresses) == [503, 200]


async def never_receives() -> Message:
    raise AssertionError


async def never_asked(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise AssertionError


def in_process(settings: Settings, work: Callable[[SaleReader], Awaitable[T]]) -> T:
    """The result of work with a reader of this process."""

    async def run() -> T:
        engine = open_engine(settings, "test")
        async with aclosing(SaleReader(settings, engine, stale_max_seconds=1.5)) as reader:
            result = await work(reader)
        engine.dispose()
        return result

    return asyncio.run(run())


def reads() -> int:
    """By this process so far."""
    return int(figures()["eventify_sales_read_seconds_count"])


def test_without_the_database_the_last_documents_are_served_as_stale(
    anybody: httpx.Client, database: Engine, postgres_url: str, sales_settings: Settings
) -> None:
    event = published(database)
    fresh = anybody.get(path(event))

    def listed() -> list[Any]:
        rows = anybody.get("/api/sales/").json()["sales"]
        return [row for row in rows if row["event"] == event]

    def is_listed() -> None:
        assert listed()

    eventually(is_listed)
    row = listed()
    with unreachable(postgres_url, sales_settings.database_url):

        def is_stale() -> None:
            assert anybody.get(path(event)).json()["stale"]

        eventually(is_stale)
        stale = anybody.get(path(event))
        assert stale.headers["ETag"] != fresh.headers["ETag"]
        expected = fresh.json() | {"stale": True, "now": stale.json()["now"]}
        assert stale.json() == expected
        assert listed() == row
        unknown = anybody.get(path(event + 10_000))
        assert (unknown.status_code, unknown.json()["code"]) == (503, "unavailable")
        assert int(unknown.headers["Retry-After"]) >= 1

    def is_fresh() -> None:
        assert not anybody.get(path(event)).json()["stale"]

    eventually(is_fresh)
    database.dispose()


def test_what_is_stale_is_served_for_a_time_only(
    database: Engine, postgres_url: str, sales_settings: Settings
) -> None:
    event = published(database)

    async def read_until_it_is_too_old(reader: SaleReader) -> None:
        known = await reader.sale(event)
        with unreachable(postgres_url, sales_settings.database_url):
            ages = []
            with suppress(Unavailable):
                while True:
                    answer = await reader.sale(event)
                    ages.append((answer.now - known.now, answer.stale))
                    assert answer.document.tag == known.document.tag
                    await asyncio.sleep(0)
        assert {stale for age, stale in ages if age > FRESH_SECONDS} == {True}
        assert max(age for age, _ in ages) < 1.6

    in_process(sales_settings, read_until_it_is_too_old)
    database.dispose()
