"""Reads of one row at the same time: the catalog is asked once, and each gets his own errors."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.rows.reader import Row, RowReader
from gateway.rows.store import RowName
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.errors import Unavailable

NAME = RowName(is_event=True, id=1)


@asynccontextmanager
async def own_turn() -> AsyncIterator[None]:
    yield


class Catalog:
    """Answers when it is let."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.asked = 0
        self.may_answer = asyncio.Event()

    async def ask(self) -> Row:
        self.asked += 1
        number = self.asked
        await self.may_answer.wait()
        if self.status == 503:
            raise Unavailable
        return Row(self.status, [(b"etag", b'"a"')], b"%d" % number)


@pytest.fixture
def reader(keys_dir: Path) -> RowReader:
    settings = Settings(database_url="postgresql://127.0.0.1:1/none", keys_dir=keys_dir)
    return RowReader(settings, open_engine(settings, "test"))


async def read_twice(
    reader: RowReader, catalog: Catalog, versions: tuple[str, str]
) -> list[Row | BaseException | None]:
    """By two requests, which come while the catalog has not answered."""
    tasks = [
        asyncio.create_task(reader.ask(NAME, version, catalog.ask, own_turn()))
        for version in versions
    ]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    catalog.may_answer.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.anyio
async def test_who_read_the_same_version_share_one_response(reader: RowReader) -> None:
    catalog = Catalog()
    first, second = await read_twice(reader, catalog, ("v1", "v1"))
    assert first is second
    assert catalog.asked == 1
    assert reader.recall(NAME, "v1") is first
    assert reader.recall(NAME, "v2") is None


@pytest.mark.anyio
async def test_who_read_a_later_version_does_not_get_an_earlier_response(
    reader: RowReader,
) -> None:
    catalog = Catalog()
    first, second = await read_twice(reader, catalog, ("v1", "v2"))
    assert isinstance(first, Row)
    assert isinstance(second, Row)
    assert (first.body, second.body) == (b"1", b"2")


@pytest.mark.anyio
@pytest.mark.parametrize("status", [401, 404])
async def test_an_error_is_answered_to_whom_it_was_meant_for_and_is_not_kept(
    reader: RowReader, status: int
) -> None:
    first, second = await read_twice(reader, Catalog(status), ("v1", "v1"))
    assert isinstance(first, Row)
    assert (first.status, second) == (status, None)
    assert reader.recall(NAME, "v1") is None


@pytest.mark.anyio
async def test_a_catalog_that_is_away_is_away_for_all_who_waited(reader: RowReader) -> None:
    catalog = Catalog(503)
    answers = await read_twice(reader, catalog, ("v1", "v1"))
    assert [type(answer) for answer in answers] == [Unavailable, Unavailable]
    assert catalog.asked == 1
