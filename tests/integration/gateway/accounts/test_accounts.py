"""Accounts and tokens, over HTTP against a real gateway process."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import httpx
import jwt
import psycopg2
import pytest
from argon2 import PasswordHasher
from psycopg2.extensions import connection, cursor

from gateway.accounts.passwords import HASHER
from shared.auth.keys import SigningKey
from shared.auth.tokens import mint
from shared.config.settings import Settings
from shared.free_port import free_port
from shared.version import VERSION
from tests.support.bad_tokens import NESTED_JSON, encoded
from tests.support.gateways import running_gateway
from tests.support.servers import new_database
from tests.support.waiting import SESSIONS_WAITING, eventually

PASSWORD = "velvet-tram-42"
_numbers = count(1)


@pytest.fixture(scope="module")
def gateway_settings(postgres_url: str, keys_dir: Path) -> Iterator[Settings]:
    """One gateway with its own database for all tests here; each makes users of its own."""
    with new_database(postgres_url) as url:
        yield Settings(
            database_url=url,
            keys_dir=keys_dir,
            sign_in_rate_burst=0,
            account_threads=3,  # one user may have two
            refresh_cleanup_seconds=0.1,
            refresh_cleanup_families=1,
        )


@pytest.fixture(scope="module")
def gateway(gateway_settings: Settings) -> Iterator[httpx.Client]:
    with running_gateway(gateway_settings) as client:
        yield client


@pytest.fixture
def database(gateway_settings: Settings) -> Iterator[connection]:
    database = psycopg2.connect(gateway_settings.database_url)
    database.autocommit = True
    yield database
    database.close()


def wait_for_sessions(database: connection, count: int) -> None:
    """Until so many sessions wait for a lock, beside the periodic deletion."""

    def they_wait() -> None:
        with database.cursor() as watching:
            watching.execute(f"{SESSIONS_WAITING} AND query NOT LIKE 'WITH expired%'")
            assert watching.fetchone() == (count,)

    eventually(they_wait)


@contextmanager
def family_locked(settings: Settings, token: str) -> Iterator[cursor]:
    """Locks a family, as a gateway that works on it does, until the block ends."""
    with closing(psycopg2.connect(settings.database_url)) as holder, holder.cursor() as lock:
        lock.execute("SELECT FROM refresh_tokens WHERE id = %s FOR UPDATE", [token_id(token)])
        yield lock


def new_name() -> str:
    return f"buyer{next(_numbers)}"


@pytest.fixture
def username(gateway: httpx.Client) -> str:
    """Somebody with an account."""
    name = new_name()
    answer = gateway.post("/api/users/", json={"username": name, "password": PASSWORD})
    assert answer.status_code == 201
    return name


@pytest.fixture
def pair(gateway: httpx.Client, username: str) -> dict[str, str]:
    """Tokens of somebody who has just signed in."""
    return sign_in(gateway, username).json()


def sign_in(gateway: httpx.Client, username: str, password: str = PASSWORD) -> httpx.Response:
    return gateway.post("/api/token/", json={"username": username, "password": password})


def refresh(gateway: httpx.Client, token: str) -> httpx.Response:
    return gateway.post("/api/token/refresh/", json={"refresh": token})


def post(gateway: httpx.Client, route: str, body: object) -> httpx.Response:
    """For bodies that only ASCII can carry: httpx cannot encode half a surrogate pair."""
    return gateway.post(route, content=json.dumps(body))


def token_id(token: str) -> str:
    return jwt.decode(token, options={"verify_signature": False})["jti"]


def _without_guards(database: connection, statement: str, value: object) -> None:
    """Turn back the time of rows, as no code of ours may: no trigger fires for a replica."""
    with database.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(statement, [value])
        cursor.execute("RESET session_replication_role")


# --- registering ---


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("अनिता", []),
        ("ประยุทธ์", []),
        ("தமிழ்", []),
        ("Zoë", ["Zoe\u0308", "ZOË"]),
        ("Γιώργος", ["ΓΙΏΡΓΟΣ", "γιώργος"]),
        ("ΝΊΚΟΣ", ["Νίκος"]),
        ("J\u030can", ["ǰan"]),
        ("İrem", ["i\u0307rem"]),
        ("Олена", ["ОЛЕНА", "олена"]),
    ],
)
def test_one_account_has_all_spellings_of_its_name(
    gateway: httpx.Client, name: str, others: list[str]
) -> None:
    assert gateway.post("/api/users/", json={"username": name, "password": PASSWORD}).is_success
    for spelling in (name, *others):
        taken = gateway.post("/api/users/", json={"username": spelling, "password": PASSWORD})
        assert (taken.status_code, list(taken.json()["errors"])) == (400, ["username"])
        assert sign_in(gateway, spelling).status_code == 200


def test_names_that_are_equal_for_the_database_alone_are_two_accounts(
    gateway: httpx.Client,
) -> None:
    name = new_name() + "iris"
    dotted = name.replace("iris", "İris")
    for one, password in ((name, PASSWORD), (dotted, "another-tram-42")):
        made = gateway.post("/api/users/", json={"username": one, "password": password})
        assert made.status_code == 201
    for spelling in (name, name.upper()):
        assert sign_in(gateway, spelling).status_code == 200
    for spelling in (dotted, dotted.lower()):
        assert sign_in(gateway, spelling).status_code == 401
        assert sign_in(gateway, spelling, "another-tram-42").status_code == 200


def test_an_account_of_an_older_rule_can_still_sign_in(
    gateway: httpx.Client, database: connection, username: str
) -> None:
    # It was stored as it was typed; now it would be stored in lower case.
    with database.cursor() as cursor:
        cursor.execute("UPDATE users SET username = 'ΣΊΣΥΦΟΣ' WHERE username = %s", [username])
    assert sign_in(gateway, "ΣΊΣΥΦΟΣ").status_code == 200


def test_concurrent_registrations_of_one_name_make_one_account(gateway: httpx.Client) -> None:
    body = {"username": new_name(), "password": PASSWORD}
    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(gateway.post, "/api/users/", json=body) for _ in range(4)]
        statuses = sorted(call.result().status_code for call in calls)
    assert statuses == [201, 400, 400, 400]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"username": ""}, "username"),
        ({"username": "a" * 151}, "username"),
        ({"username": "with space"}, "username"),
        ({"username": "new\nline"}, "username"),
        ({"username": "nul\x00byte"}, "username"),
        ({"username": "half\ud800"}, "username"),
        ({"username": "\u0301ana"}, "username"),
        ({"username": "\u3164"}, "username"),
        ({"username": 7}, "username"),
        ({"username": None}, "username"),
        ({"password": "short-1"}, "password"),
        ({"password": "8305720194"}, "password"),
        ({"password": "password123"}, "password"),
        ({"password": "annabella1", "username": "annabella"}, "password"),
        ({"password": "nul\x00byte-in-it"}, "password"),
        ({"password": "half-a-pair-\udfff"}, "password"),
        ({"password": "long" * 300}, "password"),
        ({"email": "nobody"}, "email"),
        ({"email": "a@b"}, "email"),
        ({"email": "nul\x00@example.com"}, "email"),
        ({"email": "a" * 250 + "@example.com"}, "email"),
        ({"email": "ana\u200b@example.com"}, "email"),
        ({"email": "\u202eana@example.com"}, "email"),
        ({"email": "\u3164@\u2060.\u00ad"}, "email"),
    ],
)
def test_invalid_accounts_are_errors_by_field(
    gateway: httpx.Client, change: dict[str, object], field: str
) -> None:
    body = {"username": new_name(), "password": PASSWORD} | change
    answer = post(gateway, "/api/users/", body)
    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == [field]
    assert PASSWORD not in answer.text


@pytest.mark.parametrize("email", [None, ""])
def test_the_email_is_optional(gateway: httpx.Client, email: str | None) -> None:
    body = {"username": new_name(), "password": PASSWORD, "email": email}
    answer = gateway.post("/api/users/", json=body)
    assert (answer.status_code, answer.json()["email"]) == (201, None)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_a_413(gateway: httpx.Client, chunked: bool) -> None:
    body = b" " * 70_000
    answer = gateway.post("/api/users/", content=iter([body]) if chunked else body)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


# --- signing in ---


def test_a_user_without_password_cannot_sign_in(
    gateway: httpx.Client, database: connection
) -> None:
    name = new_name()
    with database.cursor() as cursor:
        cursor.execute("INSERT INTO users (username) VALUES (%s)", [name])
    assert sign_in(gateway, name, "").status_code == 401


@pytest.mark.parametrize("name", ["nul\x00byte", "half\ud800", None, 10**30])
def test_a_name_that_cannot_be_stored_is_a_400(gateway: httpx.Client, name: object) -> None:
    answer = post(gateway, "/api/token/", {"username": name, "password": PASSWORD})
    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == ["username"]


def test_a_password_may_be_typed_in_any_normal_form(
    gateway: httpx.Client, database: connection, username: str
) -> None:
    composed, decomposed = "vélo-über-42-ẟ", "ve\u0301lo-u\u0308ber-42-ẟ"
    name = new_name()
    assert post(gateway, "/api/users/", {"username": name, "password": decomposed}).is_success
    for typed in (composed, decomposed):
        assert sign_in(gateway, name, typed).status_code == 200
    assert sign_in(gateway, name, "velo-uber-42-ẟ").status_code == 401
    # Earlier versions stored the hash of what was typed.
    with database.cursor() as cursor:
        hashed = PasswordHasher().hash(decomposed)
        cursor.execute(
            "UPDATE users SET password_hash = %s WHERE username = %s", [hashed, username]
        )
    for typed in (decomposed, composed):
        assert sign_in(gateway, username, typed).status_code == 200


def test_a_hash_of_older_parameters_is_renewed_when_its_owner_signs_in(
    gateway: httpx.Client, database: connection, username: str
) -> None:
    old = PasswordHasher(time_cost=1, memory_cost=8_192, parallelism=1).hash(PASSWORD)
    with database.cursor() as cursor:
        cursor.execute("UPDATE users SET password_hash = %s WHERE username = %s", [old, username])
        assert sign_in(gateway, username).status_code == 200
        cursor.execute("SELECT password_hash FROM users WHERE username = %s", [username])
        assert "$argon2id$v=19$m=19456,t=2,p=1$" in cursor.fetchone()[0]
    assert sign_in(gateway, username).status_code == 200


def test_a_hash_that_another_sign_in_has_renewed_is_checked_again(
    gateway: httpx.Client, gateway_settings: Settings, database: connection, username: str
) -> None:
    old = PasswordHasher(time_cost=1, memory_cost=8_192, parallelism=1).hash(PASSWORD)
    with database.cursor() as cursor:
        cursor.execute("UPDATE users SET password_hash = %s WHERE username = %s", [old, username])
    with (
        ThreadPoolExecutor() as threads,
        closing(psycopg2.connect(gateway_settings.database_url)) as other,
        other.cursor() as cursor,
    ):
        cursor.execute(
            "UPDATE users SET password_hash = %s WHERE username = %s",
            [HASHER.hash(PASSWORD), username],
        )
        answer = threads.submit(sign_in, gateway, username)
        wait_for_sessions(database, 1)
        other.commit()
        assert answer.result().status_code == 200


def test_the_owner_of_a_similar_name_makes_no_address_familiar(gateway_settings: Settings) -> None:
    """Whose guesses from it would not count with those of all strangers."""
    victim = new_name() + "iris"
    twin = victim.replace("iris", "i\u0307ris")

    def try_from(address: str, username: str, password: str) -> int:
        return gateway.post(
            "/api/token/",
            json={"username": username, "password": password},
            headers={"X-Forwarded-For": address},
        ).status_code

    with running_gateway(gateway_settings, sign_in_rate_burst=1_000) as gateway:
        for name in (victim, twin):
            body = {"username": name, "password": PASSWORD}
            assert gateway.post("/api/users/", json=body).status_code == 201
        assert try_from("203.0.113.1", twin, PASSWORD) == 200
        guesses = (try_from(f"198.51.100.{n}", victim, "another-tram-42") for n in range(200))
        assert 429 in guesses
        # A token may have grown back.
        assert 429 in [try_from("203.0.113.1", victim, "another-tram-42") for _ in range(3)]


def test_too_many_logins_get_a_503_and_other_requests_do_not(
    gateway_settings: Settings, username: str, gateway: httpx.Client
) -> None:
    with (
        running_gateway(gateway_settings, password_hash_waiting_max=1) as client,
        ThreadPoolExecutor(20) as threads,
    ):
        calls = [threads.submit(sign_in, client, username) for _ in range(40)]
        answers = [call.result() for call in calls]
        assert {answer.status_code for answer in answers} == {200, 503}
        refused = next(answer for answer in answers if answer.status_code == 503)
        assert int(refused.headers["retry-after"]) >= 1
        assert client.get("/readyz").status_code == 200
        assert sign_in(client, username).status_code == 200


def test_repeated_refreshes_do_not_block_sign_ins(
    gateway: httpx.Client,
    gateway_settings: Settings,
    pair: dict[str, str],
    username: str,
    database: connection,
) -> None:
    with ThreadPoolExecutor(8) as threads:
        with family_locked(gateway_settings, pair["refresh"]):
            repeated = [threads.submit(refresh, gateway, pair["refresh"]) for _ in range(8)]
            wait_for_sessions(database, 2)
            assert sign_in(gateway, username).status_code == 200
            body = {"username": new_name(), "password": PASSWORD}
            assert gateway.post("/api/users/", json=body).status_code == 201
        assert {call.result().status_code for call in repeated} <= {200, 503}


# --- tokens ---


def test_concurrent_refreshes_get_the_same_pair(
    gateway: httpx.Client, pair: dict[str, str], gateway_settings: Settings, database: connection
) -> None:
    with ThreadPoolExecutor(2) as threads:
        with family_locked(gateway_settings, pair["refresh"]):
            calls = [threads.submit(refresh, gateway, pair["refresh"]) for _ in range(2)]
            # Both have read the token, or wait to, before either may write.
            wait_for_sessions(database, 2)
        first, second = (call.result() for call in calls)
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json() == second.json()


def test_a_revocation_includes_a_successor_issued_at_the_same_moment(
    gateway: httpx.Client, pair: dict[str, str], gateway_settings: Settings, database: connection
) -> None:
    newest = refresh(gateway, pair["refresh"]).json()
    with ThreadPoolExecutor(2) as threads:
        # As if another gateway was spending `newest` just now.
        with family_locked(gateway_settings, pair["refresh"]) as lock:
            blacklisting = threads.submit(
                gateway.post, "/api/token/blacklist/", json={"refresh": newest["refresh"]}
            )
            wait_for_sessions(database, 1)
            lock.execute(
                "INSERT INTO refresh_tokens (id, family, user_id, issued_at, expires_at)"
                " SELECT gen_random_uuid(), family, user_id, issued_at, expires_at"
                " FROM refresh_tokens WHERE id = %s RETURNING id",
                [token_id(newest["refresh"])],
            )
            (newborn,) = lock.fetchone()
            lock.connection.commit()
        assert blacklisting.result().status_code == 200
    with database.cursor() as cursor:
        cursor.execute("SELECT revoked_at IS NOT NULL FROM refresh_tokens WHERE id = %s", [newborn])
        assert cursor.fetchone() == (True,)


def test_expired_tokens_are_deleted_but_for_the_first_of_a_family_in_use(
    gateway: httpx.Client, database: connection, username: str
) -> None:
    def a_day_ago(tokens: list[str]) -> None:
        _without_guards(
            database,
            "UPDATE refresh_tokens SET issued_at = issued_at - interval '26 hours',"
            " expires_at = expires_at - interval '26 hours' WHERE id = ANY(%s::uuid[])",
            tokens,
        )

    def login(refreshes: int) -> list[str]:
        tokens = [sign_in(gateway, username).json()["refresh"]]
        for _ in range(refreshes):
            tokens.append(refresh(gateway, tokens[-1]).json()["refresh"])
        return [token_id(token) for token in tokens]

    def stored() -> set[str]:
        with database.cursor() as cursor:
            cursor.execute("SELECT id::text FROM refresh_tokens")
            return {row[0] for row in cursor}

    going_on, ended, ended_too = login(3), login(1), login(0)
    a_day_ago(going_on[:3])
    a_day_ago(ended + ended_too)

    def the_ended_are_gone() -> None:
        assert not stored() & {*ended, *ended_too, *going_on[1:3]}

    eventually(the_ended_are_gone)
    assert {going_on[0], going_on[-1]} <= stored()


def test_a_spent_token_does_not_verify(gateway: httpx.Client, pair: dict[str, str]) -> None:
    refresh(gateway, pair["refresh"])
    answer = gateway.post("/api/token/verify/", json={"token": pair["refresh"]})
    assert answer.status_code == 401


def test_blacklisting_a_token_revokes_its_family(
    gateway: httpx.Client, pair: dict[str, str]
) -> None:
    newest = refresh(gateway, pair["refresh"]).json()["refresh"]
    answer = gateway.post("/api/token/blacklist/", json={"refresh": newest})
    assert (answer.status_code, answer.json()) == (200, {})
    assert refresh(gateway, newest).status_code == 401
    assert refresh(gateway, pair["refresh"]).status_code == 401
    assert gateway.post("/api/token/verify/", json={"token": newest}).status_code == 401
    assert gateway.post("/api/token/blacklist/", json={"refresh": newest}).status_code == 401


@pytest.mark.parametrize("route", ["refresh", "verify", "blacklist"])
def test_an_invalid_token_is_a_401(
    gateway: httpx.Client, route: str, gateway_settings: Settings, signing_key: SigningKey
) -> None:
    field = "token" if route == "verify" else "refresh"
    never_issued = mint(gateway_settings, signing_key, 1, "refresh")
    expired = mint(gateway_settings, signing_key, 1, "refresh", issued_at=1_000_000_000)
    nested = f"{encoded(NESTED_JSON)}.e30.AA"
    wrong_type = mint(gateway_settings, signing_key, 1, "access")
    strings = ["", "x", "a.b.c", "é.é.é", "x" * 5_000, nested, never_issued, expired]
    for token in strings + [wrong_type] * (route != "verify"):
        answer = gateway.post(f"/api/token/{route}/", json={field: token})
        assert answer.status_code == 401, token
        assert "www-authenticate" in answer.headers


@pytest.mark.parametrize("value", [None, 7, ["x"], "nul\x00", "half\ud800"])
def test_a_token_that_is_not_a_string_is_a_400(gateway: httpx.Client, value: object) -> None:
    answer = post(gateway, "/api/token/refresh/", {"refresh": value})
    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == ["refresh"]


def test_a_token_of_a_deleted_user_is_a_401(
    gateway: httpx.Client, gateway_settings: Settings, signing_key: SigningKey
) -> None:
    token = mint(gateway_settings, signing_key, 2**62, "access")
    answer = gateway.get("/api/users/me/", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401


def test_without_a_database_the_gateway_runs_and_responds_with_503(
    gateway_settings: Settings, username: str
) -> None:
    nowhere = f"postgresql://postgres@127.0.0.1:{free_port()}/nothing"
    with running_gateway(gateway_settings, ready="/healthz", database_url=nowhere) as client:
        refused = sign_in(client, username)
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert "retry-after" in refused.headers
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").json() == {"status": "ok", "version": VERSION}
