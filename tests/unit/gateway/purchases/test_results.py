"""Polls that are answered together."""

from contextlib import closing
from pathlib import Path

from gateway.purchases.results import Poll, ResultReader
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.errors import Unavailable


def test_each_poll_that_cannot_be_answered_has_an_error_of_its_own(keys_dir: Path) -> None:
    settings = Settings(
        database_url="postgresql://127.0.0.1:1/none",
        redis_url="redis://127.0.0.1:1/0",
        keys_dir=keys_dir,
    )
    with closing(ResultReader(settings, open_engine(settings, "test"))) as results:
        first, second = results.read([Poll("1", 1), Poll("1", 2)])
    assert isinstance(first, Unavailable)
    assert isinstance(second, Unavailable)
    first.headers["RateLimit"] = "of the first"
    assert "RateLimit" not in second.headers
