"""Tokens of other issuers: access tokens of those we trust are valid, and nothing else is."""

import asyncio
import gzip
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm
from structlog.testing import capture_logs

from shared.auth.authenticator import Authenticator
from shared.auth.issuer_keys import (
    FETCH_TIMEOUT_SECONDS,
    FETCHES_PER_SECOND,
    JWKS_MAX_BYTES,
    KEPT_SECONDS,
    REFRESH_SECONDS,
)
from shared.auth.issuer_tokens import REFUSAL_LOGGED_SECONDS, USER_KEPT_SECONDS, Subject
from shared.auth.keys import SigningKey
from shared.auth.live_credentials import Changes, LiveCredentials
from shared.auth.tokens import TokenVerifier
from shared.config.settings import Settings
from shared.errors import NotAuthenticated, Unavailable
from tests.support.bad_tokens import STRANGER, STRANGERS_JWK, encoded, signed
from tests.support.issuers import AUDIENCE, Issuer, jwks_of, respond_with, setting_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.anyio
EC_KEY = ec.generate_private_key(ec.SECP256R1())
NOW = int(time.time())


class Users:
    """Gives each subject an id, and counts how often it is asked."""

    def __init__(self) -> None:
        self.subjects: list[Subject] = []
        self.asked = 0

    async def find(self, subject: Subject) -> int:
        self.asked += 1
        await asyncio.sleep(0)
        if subject not in self.subjects:
            self.subjects.append(subject)
        return 1 + self.subjects.index(subject)


class Client:
    def __init__(self, authenticator: Authenticator, users: Users) -> None:
        self.authenticator = authenticator
        self.users = users

    async def user_of(self, token: str) -> int:
        headers = [(b"host", b"x"), (b"authorization", f"Bearer {token}".encode("latin-1"))]
        return (await self.authenticator.caller(headers)).user_id

    async def refuses(self, token: str) -> NotAuthenticated:
        with pytest.raises(NotAuthenticated) as refused:
            await self.user_of(token)
        assert 'error="invalid_token"' in refused.value.headers["WWW-Authenticate"]
        return refused.value

    async def cannot_tell(self, token: str) -> None:
        with pytest.raises(Unavailable) as unavailable:
            await self.user_of(token)
        assert "Retry-After" in unavailable.value.headers


@asynccontextmanager
async def trusting(keys_dir: Path, *issuers: Issuer, **changes: Any) -> AsyncIterator[Client]:
    changes = {"trusted_issuers": setting_of(*issuers), "answer_timeout_seconds": 10.0} | changes
    settings = Settings(database_url="postgresql:///unused", keys_dir=keys_dir, **changes)
    users = Users()
    verifier, nothing = TokenVerifier(settings), Changes((), {}, 0, is_all=True)
    credentials = LiveCredentials(settings, verifier, lambda _mark: nothing, lambda _used: None)
    authenticator = Authenticator(settings, verifier, users.find, credentials)
    async with authenticator.running():
        yield Client(authenticator, users)


@pytest.fixture(scope="module")
def well_known_issuer() -> Iterator[Issuer]:
    """For tests that change nothing of it."""
    with Issuer().running() as issuer:
        yield issuer


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer().running() as issuer:
        yield issuer


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock that measures how old keys and users are."""
    clock, ahead = time.monotonic, [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock() + ahead[0])

    def move(seconds: float) -> None:
        ahead[0] += seconds

    return move


# --- forms of tokens ---

GOOD: dict[str, dict[str, Any]] = {
    "Keycloak's": {},
    "Keycloak's with a nonce, of an older version": {"nonce": "n"},
    "Auth0's": {
        "typ": None,
        "sub": "auth0|123456",
        "aud": [AUDIENCE, "https://shop.eu.auth0.com/userinfo"],
        "scope": "openid profile",
    },
    "one audience": {"aud": AUDIENCE},
    "RFC 9068's": {"typ": None, "header": {"typ": "at+jwt"}, "client_id": "shop", "jti": "x"},
    "RFC 9068's by the whole type": {"typ": None, "header": {"typ": "application/at+jwt"}},
    "no type": {"typ": None, "header": {"typ": None}},
    "fractions of seconds": {"exp": NOW + 3_600.5, "iat": NOW - 0.5},
    "no time of issue": {"iat": None},
    "a clock slightly ahead": {"iat": NOW + 3, "nbf": NOW + 3},
    "an id that is none of ours": {"jti": 7},
}


def by_hmac(issuer: Issuer, secret: bytes) -> str:
    body = f"{encoded({'alg': 'HS256', 'kid': issuer.kid})}.{issuer.token().split('.')[1]}"
    return f"{body}.{encoded(hmac.digest(secret, body.encode(), hashlib.sha256))}"


def spoilt(issuer: Issuer) -> str:
    header, _payload, signature = issuer.token().split(".")
    return f"{header}.{issuer.token(sub='eve').split('.')[1]}.{signature}"


BAD: dict[str, Callable[[Issuer], str]] = {
    "expired": lambda i: i.token(exp=NOW - 60),
    "expired beyond the leeway": lambda i: i.token(exp=NOW - 6),
    "never expires": lambda i: i.token(exp=None),
    "not yet valid": lambda i: i.token(nbf=NOW + 3_600),
    "issued in the future": lambda i: i.token(iat=NOW + 3_600),
    "another audience": lambda i: i.token(aud="account"),
    "other audiences": lambda i: i.token(aud=["account", "tickets2"]),
    "no audience": lambda i: i.token(aud=None),
    "an empty audience": lambda i: i.token(aud=[]),
    "audience is an object": lambda i: i.token(aud={AUDIENCE: AUDIENCE}),
    "no subject": lambda i: i.token(sub=None),
    "Keycloak's ID token": lambda i: i.token(typ="ID"),
    "Keycloak's refresh token": lambda i: i.token(typ="Refresh"),
    "one of our own types": lambda i: i.token(typ="access"),
    "type is a list": lambda i: i.token(typ=["Bearer"]),
    "an ID token by its nonce": lambda i: i.token(typ=None, nonce="n"),
    "an ID token by a hash": lambda i: i.token(typ=None, at_hash="h"),
    "a logout token": lambda i: i.token(typ=None, header={"typ": "logout+jwt"}),
    "bound to a key": lambda i: i.token(cnf={"jkt": "k"}),
    "another algorithm of the same key": lambda i: i.token(algorithm="RS512"),
    "another algorithm of the same key, PSS": lambda i: i.token(algorithm="PS256"),
    "by a stranger": lambda i: i.token(key=STRANGER),
    "by a stranger's key in the header": lambda i: i.token(
        key=STRANGER, header={"jwk": STRANGERS_JWK}
    ),
    "by a stranger's key elsewhere": lambda i: i.token(
        key=STRANGER, kid="made-up", header={"jku": "http://127.0.0.1:1/"}
    ),
    "made-up kid": lambda i: i.token(key=STRANGER, kid="made-up"),
    "no kid": lambda i: i.token(header={"kid": None}),
    "critical extension": lambda i: i.token(header={"crit": ["exp"], "exp": 1}),
    "HS256 with the public key": lambda i: by_hmac(i, i.pem()),
    "HS256 with nothing": lambda i: by_hmac(i, b""),
    "none": lambda i: f"{encoded({'alg': 'none', 'kid': i.kid})}.{i.token().split('.')[1]}.",
    "no signature": lambda i: i.token().rpartition(".")[0] + ".",
    "payload changed": spoilt,
    "two parts": lambda i: i.token().rpartition(".")[0],
    "huge": lambda i: i.token(more="x" * 10_000),
    "another issuer": lambda i: i.token(iss="https://elsewhere.example"),
    "the issuer with a slash": lambda i: i.token(iss=i.name + "/"),
    "the issuer in a list": lambda i: signed(
        SigningKey(i.kid, i.keys[i.kid]),  # type: ignore[arg-type]
        {"iss": [i.name], "aud": AUDIENCE, "sub": "ada", "exp": NOW + 3_600},
    ),
}


@pytest.mark.parametrize("form", GOOD)
async def test_an_access_token_of_any_usual_form_is_valid(
    keys_dir: Path, well_known_issuer: Issuer, form: str
) -> None:
    async with trusting(keys_dir, well_known_issuer) as client:
        token = well_known_issuer.token(**GOOD[form])
        assert await client.user_of(token) == await client.user_of(token) == 1
        assert client.users.asked == 1


@pytest.mark.parametrize("attack", BAD)
async def test_a_bad_token_is_invalid(
    keys_dir: Path, well_known_issuer: Issuer, attack: str
) -> None:
    async with trusting(keys_dir, well_known_issuer) as client:
        # A good one first: what is remembered of it must not help a bad one.
        await client.user_of(well_known_issuer.token())
        problem = await client.refuses(BAD[attack](well_known_issuer))
        assert (problem.code == "token_expired") == attack.startswith("expired")
        assert client.users.asked == 1


REASONS = {
    "expired": "expired",
    "never expires": "no_exp",
    "not yet valid": "not_yet_valid",
    "issued in the future": "not_yet_valid",
    "other audiences": "other_audience",
    "no audience": "no_aud",
    "an empty audience": "no_aud",
    "no subject": "no_sub",
    "Keycloak's ID token": "no_access_token",
    "an ID token by its nonce": "no_access_token",
    "a logout token": "no_access_token",
    "bound to a key": "bound_to_a_key",
    "another algorithm of the same key": "other_algorithm",
    "by a stranger": "bad_signature",
    "made-up kid": "unknown_key",
    "no kid": "malformed",
    "the issuer with a slash": "unknown_issuer",
}


@pytest.mark.parametrize("attack", REASONS)
async def test_why_a_token_was_refused_is_logged_and_not_the_token(
    keys_dir: Path, well_known_issuer: Issuer, attack: str
) -> None:
    token = BAD[attack](well_known_issuer)
    async with trusting(keys_dir, well_known_issuer) as client:
        with capture_logs() as lines:
            await client.refuses(token)
    (line,) = [line for line in lines if line["event"] == "issuer_token_refused"]
    assert (line["reason"], line["count"]) == (REASONS[attack], 1)
    assert line["issuer"].removesuffix("/") == well_known_issuer.name
    assert not set(token.split(".")) & set(map(str, line.values()))


async def test_refused_tokens_are_logged_once_in_ten_seconds_for_each_reason(
    keys_dir: Path, well_known_issuer: Issuer, later: Callable[[float], None]
) -> None:
    async with trusting(keys_dir, well_known_issuer) as client:
        with capture_logs() as lines:
            for number in range(30):
                await client.refuses(well_known_issuer.token(exp=NOW - 60, more=number))
                await client.refuses(well_known_issuer.token(iss=f"https://{number}.example"))
            later(REFUSAL_LOGGED_SECONDS)
            await client.refuses(well_known_issuer.token(exp=NOW - 60))
            await client.refuses(signed(SigningKey("stranger", STRANGER)))
    refused = [line for line in lines if line["event"] == "issuer_token_refused"]
    assert [(line["reason"], line["count"]) for line in refused] == [
        ("expired", 1),
        ("unknown_issuer", 1),
        ("expired", 30),
    ]


async def test_elliptic_curves_verify_where_they_are_allowed(
    keys_dir: Path, issuer: Issuer
) -> None:
    kid = issuer.add_key(EC_KEY)
    allowed = json.dumps([issuer.setting(algorithms=["ES256"])])
    async with trusting(keys_dir, trusted_issuers=allowed) as client:
        assert await client.user_of(issuer.token(kid=kid)) == 1
        await client.refuses(issuer.token())
    async with trusting(keys_dir, issuer) as client:
        assert await client.user_of(issuer.token()) == 1
        await client.refuses(issuer.token(kid=kid))


@pytest.mark.parametrize(
    "sub", ["7", " ", "auth0|a b", "ада", "é", "e\u0301", "😀", "'; --", 'a"\\', "x" * 255]
)
async def test_a_subject_is_any_text(keys_dir: Path, well_known_issuer: Issuer, sub: str) -> None:
    async with trusting(keys_dir, well_known_issuer) as client:
        await client.user_of(well_known_issuer.token(sub=sub))
        assert client.users.subjects == [(well_known_issuer.name, sub)]


@pytest.mark.parametrize("sub", ["", "x" * 256, "a\0b", "\ud800"])
async def test_a_subject_that_cannot_be_stored_is_invalid(
    keys_dir: Path, well_known_issuer: Issuer, sub: str
) -> None:
    async with trusting(keys_dir, well_known_issuer) as client:
        await client.refuses(well_known_issuer.token(sub=sub))


async def test_one_subject_at_two_issuers_is_two_users(keys_dir: Path, issuer: Issuer) -> None:
    with Issuer().running() as other:
        other.keys[issuer.kid] = other.keys[other.kid]
        async with trusting(keys_dir, issuer, other) as client:
            assert await client.user_of(issuer.token(sub="ada")) == 1
            assert await client.user_of(other.token(sub="ada")) == 2
            # Neither may speak for the other, even if its key has the same id.
            await client.refuses(other.token(kid=issuer.kid, iss=issuer.name))


async def test_our_own_tokens_are_valid_beside(
    keys_dir: Path, signing_key: SigningKey, issuer: Issuer
) -> None:
    async with trusting(keys_dir, issuer) as client:
        ours = signed(signing_key)
        assert await client.user_of(ours) == await client.user_of(ours) == 7
        assert client.users.asked == 0
        await client.refuses(issuer.token(iss="eventify", aud="eventify", typ="access", sub="7"))


async def test_a_remembered_token_still_expires(keys_dir: Path, well_known_issuer: Issuer) -> None:
    async with trusting(keys_dir, well_known_issuer) as client:
        # By its issuer's clock, which may be five seconds behind ours.
        token = well_known_issuer.token(exp=int(time.time()) - 3)
        assert await client.user_of(token) == 1

        async def use_for(seconds: float) -> None:
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                await client.user_of(token)

        with pytest.raises(NotAuthenticated):
            await use_for(20)


async def test_what_is_remembered_is_bounded(keys_dir: Path, well_known_issuer: Issuer) -> None:
    async with trusting(keys_dir, well_known_issuer, token_cache_rows=3) as client:
        for number in range(10):
            await client.user_of(well_known_issuer.token(sub=str(number)))
        assert client.authenticator._issuers is not None
        assert len(client.authenticator._issuers._verified) == 3


async def test_a_subject_is_looked_up_once_and_again_later(
    keys_dir: Path, well_known_issuer: Issuer, later: Callable[[float], None]
) -> None:
    async with trusting(keys_dir, well_known_issuer) as client:
        tokens = [well_known_issuer.token(more=number) for number in range(100)]
        assert set(await asyncio.gather(*map(client.user_of, tokens))) == {1}
        assert client.users.asked == 1
        later(USER_KEPT_SECONDS)
        await client.user_of(tokens[0])
        assert client.users.asked == 2


# --- keys ---


async def test_a_new_key_is_found_and_the_old_one_still_verifies(
    keys_dir: Path, issuer: Issuer
) -> None:
    async with trusting(keys_dir, issuer) as client:
        old = issuer.kid
        await client.user_of(issuer.token())
        for kid in (issuer.add_key(), old):
            assert await client.user_of(issuer.token(kid=kid)) == 1
        assert issuer.fetches == 2


async def test_a_key_that_was_removed_verifies_no_more(
    keys_dir: Path, issuer: Issuer, later: Callable[[float], None]
) -> None:
    async with trusting(keys_dir, issuer) as client:
        remembered, leaked = issuer.token(), issuer.kid
        await client.user_of(remembered)
        key = issuer.keys.pop(leaked)
        new = issuer.add_key()
        later(REFRESH_SECONDS)
        await client.user_of(issuer.token(kid=new))  # fetches
        await client.refuses(remembered)
        await client.refuses(issuer.token(kid=leaked, key=key))


async def test_keys_are_fetched_again_without_a_request(
    keys_dir: Path, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.auth.issuer_keys.REFRESH_SECONDS", 0.0)
    monkeypatch.setattr("shared.auth.issuer_tokens.REFRESH_PAUSE_SECONDS", 0.01)
    async with trusting(keys_dir, issuer):
        await asyncio.to_thread(eventually, lambda: _at_least(issuer, 2))


def _at_least(issuer: Issuer, fetches: int) -> None:
    assert issuer.fetches >= fetches


async def test_many_first_tokens_cause_one_fetch(keys_dir: Path, issuer: Issuer) -> None:
    async with trusting(keys_dir, issuer) as client:
        tokens = [issuer.token(sub=str(number)) for number in range(100)]
        assert len(set(await asyncio.gather(*map(client.user_of, tokens)))) == 100
        assert issuer.fetches == 1


async def test_made_up_kids_cause_few_fetches_and_delay_no_one(
    keys_dir: Path, issuer: Issuer, later: Callable[[float], None]
) -> None:
    async with trusting(keys_dir, issuer) as client:
        good = issuer.token()
        await client.user_of(good)
        for number in range(300):
            await client.refuses(issuer.token(key=STRANGER, kid=f"made-up-{number}"))
        assert issuer.fetches <= 3
        assert await client.user_of(good) == 1
        # And a new key is found, though a little later.
        new = issuer.add_key()
        later(1 / FETCHES_PER_SECOND)
        assert await client.user_of(issuer.token(kid=new)) == 1


async def test_an_issuer_that_was_never_reached_is_not_the_clients_fault(
    keys_dir: Path, later: Callable[[float], None]
) -> None:
    with Issuer().running() as gone:
        token = gone.token()
    async with trusting(keys_dir, gone) as client:
        for _ in range(3):
            await client.cannot_tell(token)
        await client.refuses("x" + token)  # whatever the keys
        with Issuer(gone.port).running() as back:
            back.keys = gone.keys
            await client.cannot_tell(token)  # it is not asked for each request
            assert back.fetches == 0
            later(2 / FETCHES_PER_SECOND)
            assert await client.user_of(token) == 1


async def test_while_an_issuer_is_away_its_keys_are_kept_for_a_day(
    keys_dir: Path, later: Callable[[float], None]
) -> None:
    with Issuer().running() as issuer:
        async with trusting(keys_dir, issuer) as client:
            remembered = issuer.token()
            await client.user_of(remembered)
            issuer.respond = respond_with(b"", 503)
            later(KEPT_SECONDS - 100)
            assert await client.user_of(issuer.token(sub="somebody new")) == 2
            # A key that nobody knows now may be a new one.
            await client.cannot_tell(issuer.token(kid=issuer.add_key()))
            later(200)
            await client.cannot_tell(issuer.token())
            await client.cannot_tell(remembered)


async def test_redirects_are_not_followed(keys_dir: Path, issuer: Issuer) -> None:
    with Issuer().running() as elsewhere:
        elsewhere.keys = {issuer.kid: STRANGER}
        for status in (301, 302, 303, 307, 308):
            issuer.respond = respond_with(b"", status, Location=f"{elsewhere.url}/certs")
            async with trusting(keys_dir, issuer) as client:
                await client.cannot_tell(issuer.token(key=STRANGER))
        assert elsewhere.fetches == 0
        assert issuer.fetches == 5


def _gzipped(issuer: Issuer) -> bytes:
    return gzip.compress(json.dumps(issuer.jwks()).encode())


@pytest.mark.parametrize(
    "answer",
    [
        lambda i: respond_with(json.dumps(i.jwks() | {"x": "x" * JWKS_MAX_BYTES}).encode()),
        lambda i: respond_with(json.dumps(i.jwks()).encode(), 500),
        lambda i: respond_with(_gzipped(i), **{"Content-Encoding": "gzip"}),
        lambda _: respond_with(b"<html>"),
        lambda _: respond_with(b""),
        lambda _: respond_with(b"[]"),
        lambda _: respond_with(b"[" * 5_000),
        lambda _: respond_with(b'{"keys": null}'),
        lambda _: respond_with(b'{"keys": {"kid": "a"}}'),
        lambda _: respond_with(b'{"keys": []}'),
        lambda _: respond_with(b'{"keys": [1, null, [], {"kty": "RSA", "n": 1}]}'),
        lambda i: respond_with(
            json.dumps({"keys": [{"kty": "oct", "kid": i.kid, "k": "AAAA"}]}).encode()
        ),
        lambda i: respond_with(_weak_key(i)),
        lambda i: respond_with(_private_key(i)),
        lambda i: respond_with(
            json.dumps({"keys": [one | {"use": "enc"} for one in i.jwks()["keys"]]}).encode()
        ),
    ],
    ids=[
        *("huge", "an error with keys", "compressed", "a page", "empty", "a list", "nested"),
        *(
            "no keys",
            "keys are an object",
            "empty set",
            "junk",
            "a secret",
            "weak",
            "private",
            "for others",
        ),
    ],
)
async def test_a_set_that_cannot_be_used_is_as_good_as_none(
    keys_dir: Path, issuer: Issuer, answer: Callable[[Issuer], Any]
) -> None:
    issuer.respond = answer(issuer)
    async with trusting(keys_dir, issuer) as client:
        await client.cannot_tell(issuer.token())


def _private_key(issuer: Issuer) -> bytes:
    jwk = RSAAlgorithm.to_jwk(issuer.keys[issuer.kid], as_dict=True)  # type: ignore[arg-type]
    return json.dumps({"keys": [jwk | {"kid": issuer.kid, "alg": "RS256"}]}).encode()


def _weak_key(issuer: Issuer) -> bytes:
    weak = {issuer.kid: rsa.generate_private_key(65537, 1024)}
    return json.dumps(jwks_of(weak)).encode()


async def test_unusable_keys_do_not_spoil_the_others(keys_dir: Path, issuer: Issuer) -> None:
    others = [1, {"kty": "RSA", "kid": "x"}, {"kty": "what", "kid": "y"}, {"kid": 7}]
    issuer.respond = respond_with(json.dumps({"keys": others + issuer.jwks()["keys"]}).encode())
    async with trusting(keys_dir, issuer) as client:
        assert await client.user_of(issuer.token()) == 1


async def test_a_slow_issuer_makes_nobody_wait_for_long(keys_dir: Path, issuer: Issuer) -> None:
    ended = []

    def drip(request: BaseHTTPRequestHandler) -> None:
        """A byte now and then, for ever: each read of a socket would be in time."""
        request.send_response(200)
        request.end_headers()
        with suppress(OSError):
            while True:
                request.wfile.write(b" ")
                time.sleep(0.05)
        ended.append(time.monotonic())

    issuer.respond = drip
    async with trusting(keys_dir, issuer, answer_timeout_seconds=0.2) as client:
        started = time.monotonic()
        await client.cannot_tell(issuer.token())
        assert time.monotonic() - started < FETCH_TIMEOUT_SECONDS
        await asyncio.to_thread(eventually, lambda: _given_up(ended))
        await client.cannot_tell(issuer.token())


def _given_up(ended: list[float]) -> None:
    assert ended


# --- arbitrary input ---

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=6,
)
NAMES = ("aud", "sub", "typ", "iat", "exp", "nbf", "jti", "cnf")


def test_any_claims_that_an_issuer_signs_are_valid_or_not_authenticated(
    keys_dir: Path, well_known_issuer: Issuer
) -> None:
    tokens: list[str] = []

    @how(suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
    @given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3))
    def collect(claims: dict[str, Any]) -> None:
        payload = {
            "iss": well_known_issuer.name,
            "aud": AUDIENCE,
            "sub": "ada",
            "exp": NOW + 3_600,
        } | claims
        key = SigningKey(well_known_issuer.kid, well_known_issuer.keys[well_known_issuer.kid])  # type: ignore[arg-type]
        tokens.append(signed(key, payload))

    collect()

    async def send_all() -> None:
        async with trusting(keys_dir, well_known_issuer) as client:
            for token in tokens:
                with suppress(NotAuthenticated):
                    await client.user_of(token)

    asyncio.run(send_all())
