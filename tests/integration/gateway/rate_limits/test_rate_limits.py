"""Rate limits: shared in Redis, each process's own without it, and never in a sale's way."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager

import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from gateway.rate_limits import wrong_passwords
from gateway.rate_limits.address_bucket import bucket_of
from gateway.rate_limits.by_user import UserLimit
from gateway.rate_limits.limiter import DRAW, RateLimiter
from gateway.rate_limits.token_bucket import MICROSECONDS, Draw, Rate, draw
from gateway.rate_limits.wrong_passwords import (
    FAMILIAR_KEY,
    FAMILIAR_SECONDS,
    WRONG_PASSWORDS,
    AccountLimit,
    FamiliarOrigins,
)
from shared.config.settings import Settings
from shared.errors import TooManyRequests
from tests.support.factories import add_ticket_type, add_user, outcomes
from tests.support.gateways import authorization, running_gateway

# Nothing grows back while a test runs.
RATE = Rate(burst=3, per_second=0.001)
KEY_OF_ANA = f"eventify:rate:test:3:{RATE.interval}:ana"
NOWHERE = "redis://127.0.0.1:1/0"


@contextmanager
def limiter(settings: Settings, rate: Rate = RATE) -> Iterator[RateLimiter]:
    with closing(RateLimiter("test", rate, settings)) as limiter:
        yield limiter


def given_tokens(draws: list[Draw]) -> list[bool]:
    return [drawn.retry_after_seconds is None for drawn in draws]


# --- the shared buckets ---


def test_all_gateways_draw_from_one_bucket(settings: Settings, redis_client: redis.Redis) -> None:
    with limiter(settings) as one, limiter(settings) as other:
        assert one.draw(["ana"]) == [Draw(2)]
        assert other.draw(["ana"]) == [Draw(1)]
        assert given_tokens(one.draw(["ana", "ana"])) == [True, False]
        assert given_tokens(other.draw(["ana", "ben"])) == [False, True]


def test_one_call_draws_for_many_users_in_order(
    settings: Settings, redis_client: redis.Redis
) -> None:
    with limiter(settings) as limits:
        keys = ["ana", "ben", "ana", "ana", "ana", "ben"]
        assert given_tokens(limits.draw(keys)) == [True, True, True, True, False, True]


def test_a_bucket_that_is_full_again_is_forgotten(
    settings: Settings, redis_client: redis.Redis
) -> None:
    with limiter(settings, Rate(burst=3, per_second=100.0)) as limits:
        limits.draw(["ana"])
        (key,) = redis_client.keys()
        assert 0 <= redis_client.pttl(key) <= 10


@pytest.mark.parametrize("redis_is_there", [True, False])
def test_a_token_that_was_given_back_can_be_drawn_again(
    settings: Settings, redis_client: redis.Redis, redis_is_there: bool
) -> None:
    if not redis_is_there:
        settings = settings.model_copy(update={"redis_url": NOWHERE})
    with limiter(settings) as limits:
        assert given_tokens(limits.draw(["ana"] * 4)) == [True, True, True, False]
        limits.give_back("ana")
        limits.give_back("ben")  # whose bucket is full
        limits.raise_if_known_empty("ana")
        assert given_tokens(limits.draw(["ana", "ana"])) == [True, False]
        assert given_tokens(limits.draw(["ben"] * 4)) == [True, True, True, False]


def test_what_nobody_can_read_is_a_full_bucket(
    settings: Settings, redis_client: redis.Redis
) -> None:
    redis_client.set(KEY_OF_ANA, b"\xff what?")
    with limiter(settings) as limits:
        assert limits.draw(["ana"]) == [Draw(2)]


def test_processes_of_different_rates_open_no_limit(settings: Settings) -> None:
    """As while a limit is being changed, one process after another."""
    with limiter(settings) as limits, limiter(settings, Rate(6, 2)) as larger:
        draws = [each.draw(["ana"])[0] for _ in range(20) for each in (limits, larger)]
    assert given_tokens(draws).count(True) <= RATE.burst + 6 + 2


def test_a_clock_that_was_set_back_empties_no_bucket(
    settings: Settings, redis_client: redis.Redis
) -> None:
    key, two_days = KEY_OF_ANA, 2 * 86_400
    seconds, _ = redis_client.time()
    redis_client.set(key, (seconds + two_days) * MICROSECONDS, ex=two_days)
    with limiter(settings) as limits:
        assert limits.draw(["ana"]) == [Draw(2)]
        assert redis_client.pttl(key) <= 1000 * RATE.span_seconds
        assert given_tokens(limits.draw(["ana"] * 3)) == [True, True, False]


@given(
    burst=st.integers(1, 100),
    per_second=st.floats(0.5, 5_000),
    ahead=st.integers(-300 * MICROSECONDS, 300 * MICROSECONDS),
)
@hypothesis_settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_redis_reckons_as_the_rule_does(
    redis_client: redis.Redis, burst: int, per_second: float, ahead: int
) -> None:
    rate = Rate(burst, per_second)
    # The clock stands still, so that both reckon with the same moment.
    seconds, micros = redis_client.time()
    now = seconds * MICROSECONDS + micros
    script = DRAW.replace("redis.call('TIME')", f"{{{seconds}, {micros}}}")
    key = "eventify:rate:rule"
    redis_client.set(key, now + ahead)
    (answer,) = redis_client.eval(script, 1, key, rate.interval, rate.span)
    full_at, expected = draw(now + ahead, now, rate)
    assert answer == expected
    if expected >= 0:
        assert redis_client.get(key) in (b"%d" % full_at, None)


# --- a user's purchases ---


def left_after(limit: UserLimit, user_ids: Iterable[int]) -> list[int | None]:
    """The tokens that are left after each request; None where it was refused."""

    async def ask() -> list[int | None]:
        reported: list[int | None] = []
        for user_id in user_ids:
            try:
                header = (await limit.draw(user_id))["RateLimit"]
                reported.append(int(header.split(";")[1].removeprefix("r=")))
            except TooManyRequests:
                reported.append(None)
        await limit.close()
        return reported

    return asyncio.run(ask())


@pytest.fixture
def limited(settings: Settings, redis_client: redis.Redis) -> Settings:
    return settings.model_copy(update={"purchase_rate_burst": 3, "purchase_rate_per_second": 0.001})


def test_who_asks_once_costs_redis_nothing(limited: Settings, redis_client: redis.Redis) -> None:
    assert left_after(UserLimit(limited), range(100)) == [2] * 100
    assert redis_client.keys("eventify:rate:*") == []


def test_who_comes_again_has_had_all_of_it_counted(limited: Settings) -> None:
    assert left_after(UserLimit(limited), [7, 7, 7, 7, 8]) == [2, 1, 0, None, 2]


def test_a_user_who_goes_from_gateway_to_gateway_has_one_bucket(limited: Settings) -> None:
    assert left_after(UserLimit(limited), [7, 7]) == [2, 1]
    # The other gateway has not seen this user: one is let through, and then counted with the rest.
    assert left_after(UserLimit(limited), [7, 7, 7]) == [2, None, None]


def test_who_was_not_seen_for_long_is_forgotten(
    settings: Settings, redis_client: redis.Redis
) -> None:
    limit = UserLimit(settings, rate=Rate(burst=2, per_second=20.0))
    left_after(limit, range(100))
    assert len(limit._seen) == 100
    time.sleep(0.1)
    # Two for each that comes.
    left_after(limit, range(1_000, 1_040))
    assert len(limit._seen) == 60
    left_after(limit, range(2_000, 2_030))
    assert not {str(user) for user in range(100)} & limit._seen.keys()


# --- without Redis ---


def test_without_redis_full_buckets_are_forgotten(settings: Settings) -> None:
    away = settings.model_copy(update={"redis_url": NOWHERE})
    with limiter(away, Rate(burst=2, per_second=20.0)) as limits:
        limits.draw([str(user) for user in range(100)] * 3)
        assert len(limits._own) == len(limits._empty_until) == 100
        time.sleep(0.1)
        limits.draw(["ana"] * 3)
        assert list(limits._own) == list(limits._empty_until) == ["ana"]


def test_without_redis_each_process_has_buckets_of_its_own(settings: Settings) -> None:
    away = settings.model_copy(update={"redis_url": NOWHERE})
    with limiter(away) as one, limiter(away) as other:
        assert given_tokens(one.draw(["ana"] * 4)) == [True, True, True, False]
        assert given_tokens(other.draw(["ana"])) == [True]


def test_a_redis_that_refuses_to_write_blocks_nobody(
    settings: Settings, redis_client: redis.Redis
) -> None:
    redis_client.config_set("maxmemory", "1")
    try:
        with limiter(settings) as limits:
            assert given_tokens(limits.draw(["ana"] * 4)) == [True, True, True, False]
    finally:
        redis_client.config_set("maxmemory", "0")


def test_a_redis_that_is_away_is_not_asked_each_time(settings: Settings) -> None:
    """Its silence would cost every batch half a second."""
    # An address that no network routes: a connection to it is never answered.
    silent = settings.model_copy(update={"redis_url": "redis://192.0.2.1:6379/0"})
    with limiter(silent) as limits:
        limits.draw(["ana"])
        started = time.monotonic()
        limits.draw(["ana"])
        assert time.monotonic() - started < silent.redis_timeout_seconds / 2


# --- who hammers ---


def test_who_is_known_to_have_no_token_is_refused_without_asking(
    settings: Settings, redis_client: redis.Redis
) -> None:
    with limiter(settings) as limits:
        limits.draw(["ana"] * 3)
        limits.raise_if_known_empty("ana")  # three were given: nothing is known yet
        limits.draw(["ana"])
        with pytest.raises(TooManyRequests) as refused:
            limits.raise_if_known_empty("ana")
        assert 900 < int(refused.value.headers["Retry-After"]) <= 1_000
        assert refused.value.headers["RateLimit-Policy"] == '"test";q=3;w=3000'
        limits.raise_if_known_empty("ben")


def test_who_waited_is_asked_for_again(settings: Settings, redis_client: redis.Redis) -> None:
    with limiter(settings, Rate(burst=1, per_second=1_000.0)) as limits:
        while not (last := limits.draw(["ana"] * 10)[-1]).retry_after_seconds:
            pass
        give_up_at = time.monotonic() + 5
        while time.monotonic() < give_up_at:
            try:
                limits.raise_if_known_empty("ana")
                break
            except TooManyRequests:
                assert last.retry_after_seconds is not None
        else:
            pytest.fail("the refusal was remembered for ever")


def test_addresses_of_one_subscriber_share_a_bucket() -> None:
    assert bucket_of("2001:db8:1:2::3") == bucket_of("2001:db8:1:2:ffff::9") == "2001:db8:1:2::/64"
    assert bucket_of("2001:db8:1:3::3") != bucket_of("2001:db8:1:2::3")
    assert bucket_of("::ffff:192.0.2.7") == bucket_of("192.0.2.7") == "192.0.2.7"
    assert bucket_of("testclient") == "testclient"


# --- wrong passwords of one account ---

ATTEMPTS = WRONG_PASSWORDS.burst
USER_IDS = {"ana": 1, "Ana": 1, "ben": 2}


class TwoGateways:
    """Two gateways' limits of one account."""

    def __init__(self, settings: Settings) -> None:
        self._limits = AccountLimit(settings), AccountLimit(settings)
        self._attempts = 0

    async def attempt(self, address: str, username: str = "ana", *, right: bool = False) -> bool:
        """Whether the limits let an attempt through, at each gateway in turn."""
        self._attempts += 1
        limit = self._limits[self._attempts % 2]
        try:
            attempt = await limit.begin(username, USER_IDS.get(username), address)
        except TooManyRequests:
            return False
        if right:
            await limit.succeeded(attempt)
        return True

    async def guesses(self, username: str = "ana") -> int:
        """How many of three times the limit, each from another address, are let through."""
        return sum([await self.attempt(f"203.0.113.{n}", username) for n in range(3 * ATTEMPTS)])

    def close(self) -> None:
        for limit in self._limits:
            limit.close()


@pytest.fixture
def gateways(settings: Settings, redis_client: redis.Redis) -> Iterator[TwoGateways]:
    limited = settings.model_copy(update={"sign_in_rate_burst": 60})
    with closing(TwoGateways(limited)) as gateways:
        yield gateways


@pytest.mark.anyio
async def test_guesses_from_many_addresses_are_limited(gateways: TwoGateways) -> None:
    assert await gateways.guesses() <= ATTEMPTS + 1  # one may grow back meanwhile
    assert await gateways.attempt("203.0.113.1", "ben")
    assert await gateways.guesses("nobody") <= ATTEMPTS + 1


@pytest.mark.anyio
async def test_a_stranger_does_not_lock_the_owner_out(gateways: TwoGateways) -> None:
    assert await gateways.attempt("198.51.100.7", right=True)
    await gateways.guesses()
    for _ in range(ATTEMPTS - 1):
        assert await gateways.attempt("198.51.100.7")
    # The right password takes no token, however often it is given.
    for _ in range(2 * ATTEMPTS):
        assert await gateways.attempt("198.51.100.7", "Ana", right=True)
    assert not await gateways.attempt("198.51.100.8", right=True)


def test_the_addresses_of_the_newest_sign_ins_are_familiar(
    settings: Settings, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wrong_passwords, "FAMILIAR_MAX", 3)
    with closing(FamiliarOrigins(settings)) as here, closing(FamiliarOrigins(settings)) as there:
        for origin in ("a", "b", "c", "a", "d"):
            here.add(origin)
        assert [origin for origin in "abcd" if origin in there] == ["a", "c", "d"]
    assert redis_client.zcard(FAMILIAR_KEY) == 3


def test_an_address_is_familiar_for_30_days(settings: Settings, redis_client: redis.Redis) -> None:
    since = time.time() - FAMILIAR_SECONDS
    redis_client.zadd(FAMILIAR_KEY, {"long ago": since - 60, "still": since + 60})
    with closing(FamiliarOrigins(settings)) as origins:
        assert "still" in origins
        assert "long ago" not in origins
        origins.add("new")
    assert redis_client.zscore(FAMILIAR_KEY, "long ago") is None
    assert 0 < redis_client.ttl(FAMILIAR_KEY) <= FAMILIAR_SECONDS


@pytest.mark.anyio
async def test_names_and_addresses_are_not_written_to_redis(
    gateways: TwoGateways, redis_client: redis.Redis
) -> None:
    await gateways.attempt("198.51.100.7", right=True)
    await gateways.attempt("198.51.100.8")
    keys = b" ".join([*redis_client.keys(), *redis_client.zrange(FAMILIAR_KEY, 0, -1)])
    assert keys
    assert b"ana" not in keys
    assert b"198" not in keys


@pytest.mark.anyio
async def test_where_sign_ins_have_no_limit_wrong_passwords_have_none(settings: Settings) -> None:
    with closing(AccountLimit(settings)) as limit:
        for _ in range(2 * ATTEMPTS):
            await limit.begin("ana", 1, "203.0.113.1")


# --- over HTTP ---


@pytest.mark.parametrize("redis_is_there", [True, False])
def test_a_user_with_too_many_purchases_is_reported_when_to_come_back(
    settings: Settings,
    engine: Engine,
    redis_client: redis.Redis,
    redis_is_there: bool,
) -> None:
    if not redis_is_there:
        settings = settings.model_copy(update={"redis_url": NOWHERE})
    ticket_type = add_ticket_type(engine, 10)
    ana, ben = (authorization(settings, add_user(engine)) for _ in range(2))
    body = {"ticket_type": ticket_type, "quantity": 1}
    path = "/api/ticket-purchases/"
    with running_gateway(settings, purchase_rate_burst=2, purchase_rate_per_second=0.1) as client:
        answers = [client.post(path, json=body, headers=ana) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [202, 202, 429, 429]
        assert [answer.headers["RateLimit"] for answer in answers[:2]] == [
            '"purchases";r=1;t=10',
            '"purchases";r=0;t=20',
        ]
        for refused in answers[2:]:
            assert refused.json()["code"] == "too_many_requests"
            assert refused.headers["Content-Type"] == "application/problem+json"
            assert 0 < int(refused.headers["Retry-After"]) <= 10
            assert refused.headers["RateLimit-Policy"] == '"purchases";q=2;w=20'
        assert len(outcomes(engine, ticket_type)) == 2
        # Nobody else is held up, and what was bought can still be asked for.
        assert client.post(path, json=body, headers=ben).status_code == 202
        assert client.get(answers[0].headers["Location"], headers=ana).status_code == 200


TOKEN_FIELDS = (("refresh", "refresh"), ("verify", "token"), ("blacklist", "refresh"))


def test_an_address_that_tries_too_often_is_reported_when_to_come_back(
    settings: Settings, redis_client: redis.Redis
) -> None:
    right = {"username": "ana", "password": "velvet-tram-42"}
    with running_gateway(settings, sign_in_rate_burst=3, sign_in_rate_per_second=0.005) as client:
        assert client.post("/api/users/", json=right).status_code == 201
        tries = [
            client.post("/api/token/", json=sent)
            for sent in (right | {"password": "guessed"}, right, right)
        ]
        assert [answer.status_code for answer in tries] == [401, 200, 429]
        assert tries[0].headers["RateLimit"] == '"sign-in";r=1;t=400'
        assert tries[1].headers["RateLimit"] == '"sign-in";r=0;t=600'
        assert 0 < int(tries[2].headers["Retry-After"]) <= 200
        assert client.post("/api/users/", json=right).status_code == 429
        # A refresh is no sign-in, and has a limit of its own: five times as many.
        refreshes = [
            client.post("/api/token/refresh/", json={"refresh": tries[1].json()["refresh"]})
            for _ in range(10)
        ]
        others = [
            client.post(f"/api/token/{route}/", json={field: "x"})
            for route, field in TOKEN_FIELDS * 2
        ]
        reported = [answer.status_code for answer in (*refreshes, *others)]
        assert reported == [200] * 10 + [401] * 5 + [429]
        assert refreshes[0].headers["RateLimit-Policy"].startswith('"tokens";q=15;')
        assert others[0].headers["RateLimit"].startswith('"tokens";r=4;')
        assert 0 < int(others[-1].headers["Retry-After"]) <= 10
        # A proxy that we believe says who it was.
        elsewhere = {"X-Forwarded-For": "198.51.100.7"}
        assert client.post("/api/token/", json=right, headers=elsewhere).status_code == 200


def test_whom_we_do_not_believe_cannot_lend_itself_another_address(
    settings: Settings, redis_client: redis.Redis
) -> None:
    wrong = {"username": "ana", "password": "velvet-tram-42"}
    limits = {"sign_in_rate_burst": 1, "sign_in_rate_per_second": 0.1, "trusted_proxies": ""}
    with running_gateway(settings, **limits) as client:
        answers = [
            client.post("/api/token/", json=wrong, headers={"X-Forwarded-For": f"198.51.100.{n}"})
            for n in range(2)
        ]
        assert [answer.status_code for answer in answers] == [401, 429]
        # Refused before a body is read, or waited for.
        for broken in (b"{", b'{"username": "ana"}', b"x" * 70_000):
            assert client.post("/api/token/", content=broken).status_code == 429
