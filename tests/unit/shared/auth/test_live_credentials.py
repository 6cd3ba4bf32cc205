"""API keys and locked accounts in memory: what is read when, and what holds without a database."""

import threading
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from math import inf
from typing import Any

import anyio
import pytest

from shared.auth import live_credentials
from shared.auth.caller import Caller, KeyScope
from shared.auth.live_credentials import Changes, LiveCredentials, StoredKey, hash_of, new_key
from shared.auth.tokens import TokenVerifier
from shared.config.settings import Settings
from shared.errors import NotAuthenticated, OutOfScope, Unavailable

pytestmark = pytest.mark.anyio

ISSUERS = """[{
    "issuer": "https://sso.example",
    "audience": "eventify",
    "jwks_url": "https://sso.example/keys"
}]"""


class Table:
    """Keys in place of a database; each change has the next number."""

    def __init__(self) -> None:
        self.rows: list[StoredKey] = []
        self.valid_from: dict[int, int | None] = {}
        self.reads = 0
        self.is_away = False
        self.all_seconds = 0.0
        self.used: list[int] = []

    def add(self, user_id: int = 7, *, expires_at: float | None = None) -> str:
        key = new_key()
        self.rows.append(
            StoredKey(len(self.rows), user_id, ["read"], hash_of(key), expires_at, is_live=True)
        )
        return key

    def revoke(self, key: str) -> None:
        (row,) = [row for row in self.rows if row.hash == hash_of(key)]
        self.rows.append(StoredKey(row.id, row.user_id, row.scopes, row.hash, None, is_live=False))

    def read(self, mark: int | None) -> Changes:
        self.reads += 1
        if mark is None:
            time.sleep(self.all_seconds)
        if self.is_away:
            raise Unavailable
        return Changes(self.rows[mark or 0 :], self.valid_from, len(self.rows), is_all=mark is None)

    def note_use(self, ids: Collection[int]) -> None:
        self.used += ids


@pytest.fixture
def table() -> Table:
    return Table()


@asynccontextmanager
async def following(settings: Settings, table: Table) -> AsyncIterator[LiveCredentials]:
    keys = LiveCredentials(settings, TokenVerifier(settings), table.read, table.note_use)
    async with keys.running():
        yield keys


@pytest.fixture
async def keys(table: Table) -> AsyncIterator[LiveCredentials]:
    async with following(settings(), table) as keys:
        yield keys


def settings(**changes: float | str) -> Settings:
    return Settings(database_url="postgresql://nobody@nowhere/none", **changes)


async def until_refused(keys: LiveCredentials, key: str, error: type[Exception]) -> None:
    with anyio.fail_after(10):
        while True:
            try:
                await keys.caller(key)
            except error:
                return
            await anyio.sleep(0.01)


def test_a_key_is_a_prefix_and_256_random_bits() -> None:
    key = new_key()
    assert key.startswith("evk_")
    assert len(key) == live_credentials.KEY_CHARACTERS
    assert new_key() != key


async def test_a_known_key_costs_no_read(keys: LiveCredentials, table: Table) -> None:
    key = table.add()
    assert await keys.caller(key) == Caller(7, 0, frozenset({KeyScope.READ}))
    before, began_at = table.reads, time.monotonic()
    for _ in range(1_000):
        await keys.caller(key)
    # No more than the regular ones.
    assert table.reads - before <= 1 + (time.monotonic() - began_at) / live_credentials.READ_SECONDS


async def test_a_revoked_key_is_dead_without_being_asked_for(
    keys: LiveCredentials, table: Table
) -> None:
    key, other = table.add(), table.add()
    await keys.caller(key)
    table.revoke(key)
    began_at = time.monotonic()
    await until_refused(keys, key, NotAuthenticated)
    assert time.monotonic() - began_at < 1
    await keys.caller(other)


async def test_keys_of_a_locked_account_are_dead_while_it_is_locked(
    keys: LiveCredentials, table: Table
) -> None:
    key, other = table.add(), table.add(user_id=8)
    await keys.caller(key)
    table.valid_from = {7: None}
    await until_refused(keys, key, NotAuthenticated)
    assert (await keys.caller(other)).user_id == 8
    table.valid_from = {7: int(time.time())}
    with anyio.fail_after(10):
        while True:
            with suppress(NotAuthenticated):
                assert (await keys.caller(key)).user_id == 7
                break
            await anyio.sleep(0.01)


async def test_the_end_of_tokens_is_known_until_they_have_expired(table: Table) -> None:
    lifetimes = settings(access_token_seconds=60, refresh_token_seconds=600)
    verifier, now = TokenVerifier(lifetimes), int(time.time())
    keys = LiveCredentials(lifetimes, verifier, table.read, table.note_use)

    async def until_known(moments: dict[int, float]) -> None:
        with anyio.fail_after(10):
            while verifier.valid_from != moments:
                await anyio.sleep(0.01)

    table.valid_from = {1: now, 2: now - 598, 3: None}
    async with keys.running():
        await until_known({1: now, 2: now - 598, 3: inf})
        table.valid_from = {4: now + 3}
        await until_known({1: now, 3: inf, 4: now + 3})


async def test_no_end_of_tokens_is_forgotten_while_the_clock_is_ahead(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    lifetimes = settings(access_token_seconds=60, refresh_token_seconds=600)
    verifier, now = TokenVerifier(lifetimes), int(time.time())
    keys = LiveCredentials(lifetimes, verifier, table.read, table.note_use)
    monkeypatch.setattr(time, "time", lambda: now + 86_400.0)
    async with keys.running():
        for user_id in (1, 4):
            table.valid_from = {user_id: now}
            with anyio.fail_after(10):
                while user_id not in verifier.valid_from:
                    await anyio.sleep(0.01)
    assert verifier.valid_from == {1: now, 4: now}


async def test_where_issuers_are_trusted_no_end_of_tokens_is_forgotten(table: Table) -> None:
    """An issuer alone knows how long its tokens are valid."""
    trusting, now = settings(trusted_issuers=ISSUERS), int(time.time())
    verifier = TokenVerifier(trusting)
    keys = LiveCredentials(trusting, verifier, table.read, table.note_use)
    async with keys.running():
        for user_id, moment in ((7, now - 90_000), (8, now)):
            table.valid_from = {user_id: moment}
            with anyio.fail_after(10):
                while user_id not in verifier.valid_from:
                    await anyio.sleep(0.01)
    assert verifier.is_void(7, issued_at=0)


async def test_an_expired_key_is_refused_at_its_time(keys: LiveCredentials, table: Table) -> None:
    with pytest.raises(NotAuthenticated):
        await keys.caller(table.add(expires_at=time.time() - 1))
    assert (await keys.caller(table.add(expires_at=time.time() + 60))).user_id == 7


async def test_guesses_share_few_reads_and_each_is_looked_up_once(
    keys: LiveCredentials, table: Table
) -> None:
    guesses = [new_key() for _ in range(200)]

    async def guess(key: str) -> None:
        with pytest.raises(NotAuthenticated):
            await keys.caller(key)

    for _ in range(5):
        async with anyio.create_task_group() as guessing:
            for key in guesses:
                guessing.start_soon(guess, key)
    assert table.reads < 10


@pytest.mark.parametrize("text", ["evk_", "evk_" + "x" * 42, "evk_" + "x" * 44, "evk_" + "é" * 43])
async def test_what_cannot_be_a_key_is_not_looked_up(text: str, table: Table) -> None:
    keys = LiveCredentials(settings(), TokenVerifier(settings()), table.read, table.note_use)
    with pytest.raises(NotAuthenticated):
        await keys.caller(text)
    assert table.reads == 0


async def test_no_more_than_so_many_unknown_keys_wait(
    monkeypatch: pytest.MonkeyPatch, keys: LiveCredentials
) -> None:
    monkeypatch.setattr(live_credentials, "WAITING_MAX", 0)
    with pytest.raises(Unavailable):
        await keys.caller(new_key())


async def test_while_the_database_is_away_known_keys_work_for_a_while(table: Table) -> None:
    async with following(settings(api_keys_trusted_seconds=1.5), table) as keys:
        key = table.add()
        await keys.caller(key)
        table.is_away = True
        await until_refused(keys, new_key(), Unavailable)
        assert (await keys.caller(key)).user_id == 7
        await until_refused(keys, key, Unavailable)
        table.is_away = False
        with anyio.fail_after(10):
            assert (await keys.caller(key)).user_id == 7


async def test_after_an_outage_all_keys_are_read_again(keys: LiveCredentials, table: Table) -> None:
    """The server that took over had not heard of the key."""
    key = table.add()
    await keys.caller(key)
    table.is_away = True
    await until_refused(keys, new_key(), Unavailable)
    table.rows.clear()
    table.is_away = False
    await until_refused(keys, key, NotAuthenticated)


async def test_all_keys_may_take_longer_to_read_than_a_request_waits(table: Table) -> None:
    key = table.add()
    table.all_seconds = 0.5
    async with following(settings(answer_timeout_seconds=0.1), table) as keys:
        with pytest.raises(Unavailable):
            await keys.caller(key)
        with anyio.fail_after(10):
            while True:
                with suppress(Unavailable):
                    assert (await keys.caller(key)).user_id == 7
                    break
        table.revoke(key)
        await until_refused(keys, key, NotAuthenticated)


async def test_keys_are_made_ready_in_the_thread(
    keys: LiveCredentials, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Very many would keep the event loop from its requests."""
    threads: set[threading.Thread] = set()

    def make(*parts: Any) -> Caller:
        threads.add(threading.current_thread())
        return Caller(*parts)

    monkeypatch.setattr(live_credentials, "Caller", make)
    await keys.caller(table.add())
    assert threads
    assert threading.current_thread() not in threads


async def test_the_use_of_a_key_is_noted_once_a_minute(keys: LiveCredentials, table: Table) -> None:
    used = table.add()
    await keys.caller(used)
    with anyio.fail_after(10):
        while not table.used:
            await anyio.sleep(0.01)
    reads = table.reads
    while table.reads < reads + 3:
        await keys.caller(used)
        await anyio.sleep(0.01)
    assert table.used == [0]


def test_a_key_may_do_what_its_scopes_name_and_a_token_everything() -> None:
    key = Caller(7, 1, frozenset({KeyScope.READ}))
    key.require(KeyScope.READ)
    for scope in (KeyScope.PURCHASE, None):
        with pytest.raises(OutOfScope):
            key.require(scope)
        Caller(7).require(scope)
