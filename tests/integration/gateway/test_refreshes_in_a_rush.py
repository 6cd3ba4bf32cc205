"""Thousands open a page at the same moment: who was signed in stays so, however many come."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine

from gateway.accounts import store
from gateway.accounts.service import Accounts
from gateway.accounts.store import IssuedToken
from gateway.rate_limits.by_name import NamedLimit
from gateway.rate_limits.token_bucket import Rate
from gateway.session import routes
from shared.auth.keys import SigningKey
from shared.auth.tokens import TokenVerifier, mint
from shared.concurrency.bounded_executor import BoundedExecutor
from shared.config.settings import Settings
from shared.errors import Unavailable
from shared.web.edge import Edge
from shared.web.problem_details import install_problem_handlers
from shared.web.public_address import PublicAddresses
from tests.support.factories import add_users, rows

pytestmark = pytest.mark.anyio
ORIGIN = "http://shop.test"
CROWD = 180
SPEND_SECONDS = 0.02
# Longer than a spent token may be sent again: who lost an answer has lost the session.
PAUSE_SECONDS = 1.2
SIGN_IN = """
INSERT INTO refresh_tokens (id, family, user_id, issued_at, expires_at)
SELECT id, id, user_id, now(), now() + interval '1 day'
FROM (SELECT gen_random_uuid() AS id, users.id AS user_id FROM users) first
RETURNING id, user_id
"""


@pytest.fixture
def rush(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"account_threads": 2, "answer_timeout_seconds": 2.0, "refresh_retry_seconds": 1}
    )


@pytest.fixture
def accounts(rush: Settings, engine: Engine) -> Iterator[Accounts]:
    accounts = Accounts(rush, engine, TokenVerifier(rush))
    yield accounts
    accounts.close()


@pytest.fixture
async def pages(rush: Settings, accounts: Accounts) -> AsyncIterator[httpx.AsyncClient]:
    """Requests of pages to the session's routes in this process."""
    app = FastAPI()
    install_problem_handlers(app)
    app.include_router(routes.cookie_router)
    app.state.settings, app.state.accounts = rush, accounts
    app.state.addresses = addresses = PublicAddresses("", "")
    app.state.token_limit = limit = NamedLimit("tokens", Rate(0, 0.0), rush)
    transport = httpx.ASGITransport(Edge(app, "gateway", addresses, access_log=False))
    headers = {"Origin": ORIGIN}
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers) as client:
        yield client
    limit.close()


def signed_in(engine: Engine, settings: Settings, key: SigningKey, how_many: int) -> list[str]:
    """The cookies of new users."""
    add_users(engine, how_many)
    return [
        f"{routes.COOKIE}={mint(settings, key, user_id, 'refresh', token_id=token_id)}"
        for token_id, user_id in rows(engine, SIGN_IN)
    ]


async def renew(pages: httpx.AsyncClient, cookie: str) -> httpx.Response:
    return await pages.post("/session/refresh/", headers={"Cookie": cookie})


async def test_nothing_can_be_refused_once_the_token_is_spent(
    pages: httpx.AsyncClient,
    engine: Engine,
    rush: Settings,
    signing_key: SigningKey,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spend = store.spend

    async def refuse(*_args: Any, **_kwargs: Any) -> None:
        raise Unavailable

    def spend_as_the_queues_fill_up(*args: Any, **kwargs: Any) -> IssuedToken | None:
        successor = spend(*args, **kwargs)
        monkeypatch.setattr(BoundedExecutor, "run_for", refuse)
        return successor

    monkeypatch.setattr(store, "spend", spend_as_the_queues_fill_up)
    (cookie,) = signed_in(engine, rush, signing_key, 1)
    answer = await renew(pages, cookie)
    assert answer.status_code == 200
    assert answer.headers["Set-Cookie"].startswith(routes.COOKIE)


async def test_a_crowd_that_renews_at_the_same_moment_stays_signed_in(
    pages: httpx.AsyncClient,
    engine: Engine,
    rush: Settings,
    signing_key: SigningKey,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spend = store.spend
    answers = Counter[int]()

    def spend_slowly(*args: Any, **kwargs: Any) -> IssuedToken | None:
        successor = spend(*args, **kwargs)
        time.sleep(SPEND_SECONDS)
        return successor

    async def renew_until_answered(cookie: str) -> None:
        while (answer := await renew(pages, cookie)).status_code == 503:
            answers[503] += 1
            await asyncio.sleep(PAUSE_SECONDS)
        answers[answer.status_code] += 1

    monkeypatch.setattr(store, "spend", spend_slowly)
    cookies = signed_in(engine, rush, signing_key, CROWD)
    await asyncio.gather(*map(renew_until_answered, cookies))
    assert answers.pop(503) > 0, "more than the threads could do"
    assert answers == {200: CROWD}
