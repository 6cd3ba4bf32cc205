"""Changes of one's own account, and the operator's, over HTTP against real gateway processes."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from time import time
from typing import Any
from uuid import uuid4

import httpx
import psycopg2
import pytest
from psycopg2.extensions import connection
from sqlalchemy import Engine

from gateway.accounts import store
from gateway.accounts.passwords import HASHER
from shared.auth.issuer_tokens import Subject
from shared.auth.keys import load_signing_key
from shared.auth.tokens import CLOCK_SKEW_SECONDS, mint
from shared.config.settings import Settings
from shared.database.engine import open_engine
from tests.integration.gateway.accounts.test_accounts import (
    PASSWORD,
    database,
    gateway,
    gateway_settings,
    new_name,
    pair,
    refresh,
    sign_in,
    username,
    wait_for_sessions,
)
from tests.support.command import eventify
from tests.support.factories import add_event, add_ticket_type, queue, request, run
from tests.support.gateways import running_gateway
from tests.support.waiting import eventually

__all__ = ["database", "gateway", "gateway_settings", "pair", "username"]
NEW_PASSWORD = "amber-tram-43"
ME = "/api/users/me/"
DAY = 86_400


@pytest.fixture
def engine(gateway_settings: Settings) -> Iterator[Engine]:
    engine = open_engine(gateway_settings, "test", pool_size=2)
    yield engine
    engine.dispose()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def change_password(
    gateway: httpx.Client, access: str, current: str = PASSWORD, new: str = NEW_PASSWORD
) -> httpx.Response:
    body = {"current_password": current, "new_password": new}
    return gateway.post(f"{ME}password/", json=body, headers=bearer(access))


def delete(gateway: httpx.Client, access: str, current: str = PASSWORD) -> httpx.Response:
    body = {"current_password": current}
    return gateway.post(f"{ME}delete/", json=body, headers=bearer(access))


def change_email(gateway: httpx.Client, access: str, **body: Any) -> httpx.Response:
    body = {"current_password": PASSWORD} | body
    return gateway.patch(ME, json=body, headers=bearer(access))


def my_id(gateway: httpx.Client, access: str) -> int:
    user_id: int = gateway.get(ME, headers=bearer(access)).json()["id"]
    return user_id


def is_void(gateway: httpx.Client, access: str) -> bool:
    """On an ordinary route, a lean one, and one of the catalog behind the gateway."""
    paths = (ME, "/api/ticket-purchases/", "/api/events/")
    statuses = {gateway.get(path, headers=bearer(access)).status_code for path in paths}
    return statuses == {401}


def check_void_within_a_second(gateways: list[httpx.Client], *accesses: str) -> None:
    started = time()

    def all_void() -> None:
        assert all(is_void(gateway, access) for gateway in gateways for access in accesses)

    eventually(all_void)
    # Read each half second; the rest is for a busy machine.
    assert time() - started < 3


def check_field(answer: httpx.Response, field: str) -> None:
    assert (answer.status_code, list(answer.json()["errors"])) == (400, [field])


# --- the password ---


def test_a_change_of_password_ends_all_sign_ins_on_every_gateway(
    gateway: httpx.Client,
    gateway_settings: Settings,
    username: str,
    pair: dict[str, str],
) -> None:
    elsewhere = sign_in(gateway, username).json()
    with running_gateway(gateway_settings) as other:
        assert other.get(ME, headers=bearer(elsewhere["access"])).is_success
        changed = change_password(gateway, pair["access"])
        assert (changed.status_code, changed.json()) == (200, {})
        # In the same second, and not void with the tokens from before.
        anew = sign_in(gateway, username, NEW_PASSWORD).json()
        for ended in (pair, elsewhere):
            assert refresh(gateway, ended["refresh"]).status_code == 401
        check_void_within_a_second([gateway, other], pair["access"], elsewhere["access"])
        for each in (gateway, other):
            assert each.get(ME, headers=bearer(anew["access"])).is_success
            assert each.post("/api/token/verify/", json={"token": pair["access"]}).is_error
    assert sign_in(gateway, username).status_code == 401
    assert refresh(gateway, anew["refresh"]).status_code == 200


def test_tokens_of_others_stay_valid(gateway: httpx.Client, pair: dict[str, str]) -> None:
    name = new_name()
    gateway.post("/api/users/", json={"username": name, "password": PASSWORD})
    other = sign_in(gateway, name).json()
    assert change_password(gateway, pair["access"]).is_success
    check_void_within_a_second([gateway], pair["access"])
    assert gateway.get(ME, headers=bearer(other["access"])).is_success
    assert refresh(gateway, other["refresh"]).is_success


def add_refresh_token(database: connection, user_id: int, issued_at: int) -> None:
    with database.cursor() as cursor:
        token_id = str(uuid4())
        cursor.execute(
            "INSERT INTO refresh_tokens (id, family, user_id, issued_at, expires_at) VALUES"
            " (%s, %s, %s, to_timestamp(%s), to_timestamp(%s))",
            [token_id, token_id, user_id, issued_at, issued_at + DAY],
        )


def test_a_token_of_a_gateway_whose_clock_is_ahead_ends_too(
    gateway: httpx.Client,
    gateway_settings: Settings,
    database: connection,
    pair: dict[str, str],
) -> None:
    user_id, issued_at = my_id(gateway, pair["access"]), int(time()) + 3
    add_refresh_token(database, user_id, issued_at)
    key = load_signing_key(gateway_settings.keys_dir)
    ahead = mint(gateway_settings, key, user_id, "access", issued_at=issued_at)
    assert gateway.get(ME, headers=bearer(ahead)).is_success
    assert change_password(gateway, pair["access"]).is_success
    check_void_within_a_second([gateway], ahead)


def test_after_a_gateway_whose_clock_was_ahead_a_new_sign_in_is_valid(
    gateway: httpx.Client, database: connection, username: str, pair: dict[str, str]
) -> None:
    add_refresh_token(database, my_id(gateway, pair["access"]), int(time()) + 3_600)
    assert change_password(gateway, pair["access"]).is_success
    anew = sign_in(gateway, username, NEW_PASSWORD).json()
    assert gateway.get(ME, headers=bearer(anew["access"])).is_success
    check_void_within_a_second([gateway], pair["access"])


@pytest.mark.parametrize("change", ["password", "lock"])
def test_a_database_whose_clock_is_ahead_voids_no_new_sign_in(
    cutoff: Callable[[str, int], int], change: str
) -> None:
    assert cutoff(change, -3_600) <= time() - 3_600 + CLOCK_SKEW_SECONDS


@pytest.fixture
def account_id(engine: Engine) -> int:
    account = store.add_account(engine, new_name(), None, HASHER.hash(PASSWORD))
    assert account is not None
    return account.id


@pytest.fixture
def cutoff(engine: Engine, database: connection, account_id: int) -> Callable[[str, int], int]:
    """After that change, made by a gateway whose clock is so many seconds ahead."""

    def change(what: str, ahead: int) -> int:
        with pytest.MonkeyPatch.context() as patched:
            here = time() + ahead
            patched.setattr("time.time", lambda: here)
            if what == "lock":
                store.lock(engine, account_id)
                store.unlock(engine, account_id)
            else:
                login = store.find_login_of(engine, account_id)
                assert login is not None
                assert store.change_password(engine, login, HASHER.hash(NEW_PASSWORD))
        with database.cursor() as cursor:
            cursor.execute("SELECT valid_from FROM token_cutoffs WHERE user_id = %s", [account_id])
            (valid_from,) = cursor.fetchone() or ()
        assert isinstance(valid_from, int)
        return valid_from

    return change


@pytest.mark.parametrize("what", ["password", "lock"])
@pytest.mark.parametrize(("ahead", "issued"), [(-1, 5), (-10, 2), (-120, -60), (8, 8)])
def test_every_token_ends_however_far_behind_the_clock_is_where_it_ends(
    database: connection,
    account_id: int,
    cutoff: Callable[[str, int], int],
    what: str,
    ahead: int,
    issued: int,
) -> None:
    issued_at = int(time()) + issued
    add_refresh_token(database, account_id, issued_at)
    assert cutoff(what, ahead) > issued_at


def test_a_second_change_brings_no_token_back(
    database: connection, account_id: int, cutoff: Callable[[str, int], int]
) -> None:
    add_refresh_token(database, account_id, int(time()) + 8)
    first = cutoff("password", 8)
    assert cutoff("password", 0) >= first


def test_after_a_lock_no_token_of_a_trusted_issuer_comes_back(
    engine: Engine, database: connection, account_id: int, cutoff: Callable[[str, int], int]
) -> None:
    run(
        engine,
        f"UPDATE users SET issuer = 'https://a.example', subject = '{account_id}'"
        f" WHERE id = {account_id}",
    )
    assert cutoff("lock", -120) > time() - 2


def test_a_sign_in_that_has_expired_by_a_clock_that_is_ahead_ends_too(
    gateway: httpx.Client, database: connection, pair: dict[str, str]
) -> None:
    user_id, count = my_id(gateway, pair["access"]), "SELECT count(*) FROM refresh_tokens"
    add_refresh_token(database, user_id, int(time()) - DAY - 60)
    assert change_password(gateway, pair["access"]).is_success
    with database.cursor() as cursor:
        cursor.execute(f"{count} WHERE user_id = %s AND revoked_at IS NULL", [user_id])
        assert cursor.fetchone() == (0,)


def test_a_wrong_or_weak_password_changes_nothing(
    gateway: httpx.Client, username: str, pair: dict[str, str]
) -> None:
    access = pair["access"]
    check_field(change_password(gateway, access, current="another-tram-42"), "current_password")
    for weak in ("short-1", "8305720194", "password123", username + "1", "long" * 300):
        check_field(change_password(gateway, access, new=weak), "new_password")
    check_field(
        change_email(gateway, access, email="a@b.org", current_password="x"), "current_password"
    )
    check_field(delete(gateway, access, "another-tram-42"), "current_password")
    assert gateway.get(ME, headers=bearer(access)).json()["email"] is None
    assert refresh(gateway, pair["refresh"]).is_success
    assert sign_in(gateway, username).is_success


def test_wrong_passwords_count_with_those_of_sign_ins(gateway_settings: Settings) -> None:
    with running_gateway(gateway_settings, sign_in_rate_burst=1_000) as gateway:
        name = new_name()
        gateway.post("/api/users/", json={"username": name, "password": PASSWORD})
        access = sign_in(gateway, name).json()["access"]
        tries: list[Callable[[], httpx.Response]] = [
            lambda: change_password(gateway, access, current="another-tram-42"),
            lambda: change_email(gateway, access, email=None, current_password="wrong"),
            lambda: delete(gateway, access, "wrong"),
        ]
        statuses = [tries[number % 3]().status_code for number in range(40)]
        assert statuses[:30] == [400] * 30
        assert 429 in statuses[30:]
        assert sign_in(gateway, name).status_code == 429


@contextmanager
def change_under_way(
    settings: Settings, database: connection, username: str, password: str = NEW_PASSWORD
) -> Iterator[Callable[[], None]]:
    """A change of password that has not committed; gives what commits it once a session waits."""
    with closing(psycopg2.connect(settings.database_url)) as holder, holder.cursor() as cursor:
        cursor.execute(
            "UPDATE users SET password_hash = %s WHERE username = %s RETURNING id",
            [HASHER.hash(password), username],
        )
        cursor.execute(
            "UPDATE refresh_tokens SET revoked_at = now()"
            " WHERE user_id = %s AND revoked_at IS NULL",
            cursor.fetchone(),
        )

        def commit() -> None:
            wait_for_sessions(database, 1)
            holder.commit()

        yield commit


@pytest.mark.parametrize("overlapping", ["sign-in", "refresh"])
def test_no_sign_in_survives_a_change_that_it_overlaps(
    gateway: httpx.Client,
    gateway_settings: Settings,
    database: connection,
    username: str,
    pair: dict[str, str],
    overlapping: str,
) -> None:
    with (
        ThreadPoolExecutor() as threads,
        change_under_way(gateway_settings, database, username) as commit,
    ):
        if overlapping == "sign-in":
            answer = threads.submit(sign_in, gateway, username)
        else:
            answer = threads.submit(refresh, gateway, pair["refresh"])
        commit()
        assert answer.result().status_code == 401


@pytest.mark.parametrize(("stored", "status"), [(PASSWORD, 200), (NEW_PASSWORD, 400)])
@pytest.mark.parametrize(
    "change", [change_password, delete, partial(change_email, email="ana@example.com")]
)
def test_a_right_password_is_right_while_a_sign_in_renews_its_hash(
    gateway: httpx.Client,
    gateway_settings: Settings,
    database: connection,
    username: str,
    pair: dict[str, str],
    change: Callable[[httpx.Client, str], httpx.Response],
    stored: str,
    status: int,
) -> None:
    with (
        ThreadPoolExecutor() as threads,
        change_under_way(gateway_settings, database, username, stored) as commit,
    ):
        changed = threads.submit(change, gateway, pair["access"])
        commit()
        assert changed.result().status_code == status, changed.result().text
    if status == 400:
        check_field(changed.result(), "current_password")


def test_a_change_waits_for_a_refresh_under_way_and_ends_what_it_gives(
    gateway: httpx.Client,
    gateway_settings: Settings,
    database: connection,
    pair: dict[str, str],
) -> None:
    with (
        ThreadPoolExecutor() as threads,
        closing(psycopg2.connect(gateway_settings.database_url)) as holder,
        holder.cursor() as cursor,
    ):
        # The refresh has its locks, and waits to store the successor.
        cursor.execute("LOCK TABLE refresh_tokens IN SHARE MODE")
        refreshed = threads.submit(refresh, gateway, pair["refresh"])
        wait_for_sessions(database, 1)
        changed = threads.submit(change_password, gateway, pair["access"])
        wait_for_sessions(database, 2)
        holder.commit()
        assert changed.result().status_code == 200
        successor = refreshed.result().json()
    assert refresh(gateway, successor["refresh"]).status_code == 401
    check_void_within_a_second([gateway], successor["access"])


# --- the e-mail address ---


@pytest.mark.parametrize("none", [None, ""])
def test_the_email_is_changed_and_taken_away(
    gateway: httpx.Client, pair: dict[str, str], none: str | None
) -> None:
    for email, stored in (("ana@example.com", "ana@example.com"), (none, None)):
        changed = change_email(gateway, pair["access"], email=email)
        assert (changed.status_code, changed.json()["email"]) == (200, stored)
        assert gateway.get(ME, headers=bearer(pair["access"])).json() == changed.json()
    check_field(change_email(gateway, pair["access"], email="nobody"), "email")
    check_field(change_email(gateway, pair["access"]), "email")
    check_field(change_email(gateway, pair["access"], email=None, username="other"), "username")


# --- deletion ---


def test_a_deleted_account_leaves_no_person_and_its_name_is_free(
    gateway: httpx.Client, database: connection, username: str, pair: dict[str, str]
) -> None:
    user_id = my_id(gateway, pair["access"])
    change_email(gateway, pair["access"], email="ana@example.com")
    deleted = delete(gateway, pair["access"])
    assert (deleted.status_code, deleted.json()) == (200, {})
    with database.cursor() as cursor:
        cursor.execute("SELECT username, email, password_hash FROM users WHERE id = %s", [user_id])
        assert cursor.fetchone() == (None, None, None)
    assert gateway.get(ME, headers=bearer(pair["access"])).status_code == 401
    assert delete(gateway, pair["access"]).status_code == 401
    assert refresh(gateway, pair["refresh"]).status_code == 401
    assert sign_in(gateway, username).status_code == 401
    check_void_within_a_second([gateway], pair["access"])
    again = gateway.post("/api/users/", json={"username": username, "password": PASSWORD})
    assert again.status_code == 201
    assert again.json()["id"] != user_id


@pytest.mark.parametrize("has", ["purchases", "events"])
def test_an_account_with_purchases_or_events_is_kept(
    gateway: httpx.Client, engine: Engine, username: str, pair: dict[str, str], has: str
) -> None:
    user_id = my_id(gateway, pair["access"])
    if has == "events":
        add_event(engine, user_id)
    else:
        ticket_type = add_ticket_type(engine, 10)
        queue(engine, [request(user_id, ticket_type)])
    refused = delete(gateway, pair["access"])
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert gateway.get(ME, headers=bearer(pair["access"])).json()["username"] == username
    assert sign_in(gateway, username).is_success


# --- registration ---


def test_registration_can_be_closed(gateway_settings: Settings, username: str) -> None:
    with running_gateway(gateway_settings, registration_open=False) as gateway:
        for body in ({"username": new_name(), "password": PASSWORD}, {}):
            refused = gateway.post("/api/users/", json=body)
            assert (refused.status_code, refused.json()["code"]) == (403, "registration_closed")
        assert sign_in(gateway, username).is_success


# --- the operator ---


@pytest.fixture
def operator(gateway_settings: Settings) -> Callable[..., Any]:
    def user(*arguments: str, **more: str) -> Any:
        return eventify(
            "user", *arguments, EVENTIFY_DATABASE_URL=gateway_settings.database_url, **more
        )

    return user


def test_a_locked_account_can_neither_sign_in_nor_refresh(
    gateway: httpx.Client,
    gateway_settings: Settings,
    database: connection,
    operator: Callable[..., Any],
    username: str,
    pair: dict[str, str],
) -> None:
    user_id = my_id(gateway, pair["access"])
    assert operator("lock", username.upper()).returncode == 0
    refused = sign_in(gateway, username)
    assert (refused.status_code, refused.json()["code"]) == (403, "account_locked")
    assert sign_in(gateway, username, "another-tram-42").status_code == 401
    assert refresh(gateway, pair["refresh"]).status_code == 401
    check_void_within_a_second([gateway], pair["access"])
    # Nor does any other token open anything, whoever has minted it.
    minted = mint(gateway_settings, load_signing_key(gateway_settings.keys_dir), user_id, "access")
    assert is_void(gateway, minted)
    # A new password opens nothing while the lock stands.
    assert operator("set-password", username, typed=f"{NEW_PASSWORD}\n").returncode == 0
    assert sign_in(gateway, username, NEW_PASSWORD).status_code == 403
    with database.cursor() as cursor:
        cursor.execute("SELECT valid_from FROM token_cutoffs WHERE user_id = %s", [user_id])
        assert cursor.fetchone() == (None,)

    assert operator("unlock", username).returncode == 0
    anew = sign_in(gateway, username, NEW_PASSWORD).json()

    def opens() -> None:
        assert gateway.get(ME, headers=bearer(anew["access"])).is_success

    eventually(opens)
    assert is_void(gateway, pair["access"])


def test_the_operator_sets_a_password(
    gateway: httpx.Client,
    operator: Callable[..., Any],
    username: str,
    pair: dict[str, str],
) -> None:
    weak = operator("set-password", username, typed="password123\n")
    assert (weak.returncode, "first that anyone would guess" in weak.stderr) == (1, True)
    assert refresh(gateway, pair["refresh"]).is_success
    done = operator("set-password", username, typed=f"{NEW_PASSWORD}\n")
    assert done.returncode == 0
    assert NEW_PASSWORD not in done.stdout + done.stderr
    assert sign_in(gateway, username).status_code == 401
    assert sign_in(gateway, username, NEW_PASSWORD).is_success
    check_void_within_a_second([gateway], pair["access"])


def test_the_operator_sees_an_account(
    operator: Callable[..., Any], username: str, pair: dict[str, str]
) -> None:
    def shown() -> dict[str, Any]:
        fields: dict[str, Any] = json.loads(operator("show", username, "--json").stdout)
        return fields

    before = shown()
    assert (before["username"], before["open_sign_ins"], before["locked_at"]) == (username, 1, None)
    operator("lock", username)
    after = shown()
    assert after["open_sign_ins"] == 0
    assert after["locked_at"] is not None
    assert "locked_at" in operator("show", username).stdout
    unknown = operator("show", "nobody-of-this-name")
    assert (unknown.returncode, "There is no user" in unknown.stderr) == (1, True)


def test_api_keys_outlive_a_password_until_the_operator_revokes_them(
    gateway: httpx.Client, operator: Callable[..., Any], username: str, pair: dict[str, str]
) -> None:
    body = {"name": "Checkout", "scopes": ["read", "purchase"]}
    made = gateway.post("/api/keys/", json=body, headers=bearer(pair["access"])).json()
    assert "API keys: 1" in operator("set-password", username, typed=f"{NEW_PASSWORD}\n").stdout
    check_void_within_a_second([gateway], pair["access"])
    purchases = "/api/ticket-purchases/"
    assert gateway.get(purchases, headers=bearer(made["key"])).is_success

    (shown,) = json.loads(operator("show", username, "--json").stdout)["api_keys"]
    assert (shown["id"], shown["name"], shown["scopes"]) == (made["id"], *body.values())
    line = f"API key {made['id']}: Checkout (read, purchase), "
    assert line in operator("show", username).stdout
    assert made["key"] not in operator("show", username).stdout

    assert "revoked: 1." in operator("revoke-keys", username).stdout
    eventually(lambda: check_refused(gateway.get(purchases, headers=bearer(made["key"]))))
    assert json.loads(operator("show", username, "--json").stdout)["api_keys"] == []
    assert "API keys" not in operator("set-password", username, typed=f"{PASSWORD}\n").stdout


def check_refused(answer: httpx.Response) -> None:
    assert answer.status_code == 401


def test_the_operator_finds_the_account_of_an_issuers_subject(
    engine: Engine, operator: Callable[..., Any]
) -> None:
    subject = Subject("https://sso.shop.example", uuid4().hex)
    (user_id,) = store.users_of_subjects(engine, [subject])
    named = ("show", "--issuer", subject.issuer, "--subject", subject.subject)
    assert json.loads(operator(*named, "--json").stdout)["id"] == user_id
    assert operator(*named, "ada").returncode == operator(*named[:3]).returncode == 2
    assert operator("show").returncode == 2
    assert operator(*named[:-1], uuid4().hex).returncode == 1
