"""Readiness: however many ask, the database is asked once a second, and nobody is turned away."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, event

from gateway.health import Readiness
from gateway.shutdown import Draining
from shared.concurrency.single_flight import CHECKS_AT_ONCE
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.errors import Unavailable

PROBES = 200


@contextmanager
def statements_of(engine: Engine) -> Iterator[list[str]]:
    seen: list[str] = []

    def see(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", see)
    yield seen
    event.remove(engine, "before_cursor_execute", see)


def answers(settings: Settings, engine: Engine) -> list[str]:
    """What each of many probes is told: some at once, the others one after the other."""

    async def probe() -> list[str]:
        readiness = Readiness(engine, Draining())

        async def ask() -> str:
            try:
                await readiness.check()
            except Unavailable as problem:
                return problem.detail
            return "ready"

        reported = [*await asyncio.gather(*(ask() for _ in range(PROBES)))]
        reported += [await ask() for _ in range(PROBES)]
        readiness.close()
        return reported

    return asyncio.run(probe())


def test_many_probes_are_answered_from_few_looks(settings: Settings, engine: Engine) -> None:
    with statements_of(engine) as statements:
        assert set(answers(settings, engine)) == {"ready"}
    # And one for each second that this took.
    assert 1 <= len([one for one in statements if one == "SELECT 1"]) <= CHECKS_AT_ONCE + 5


def test_without_a_database_all_are_reported_so(settings: Settings) -> None:
    away = settings.model_copy(update={"database_url": "postgresql://postgres@127.0.0.1:1/none"})
    engine = open_engine(away, "test")
    assert set(answers(away, engine)) == {"The database does not answer."}
