"""Users of trusted issuers, over HTTP against real gateway processes."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import httpx
import psycopg2
import pytest
from psycopg2.extensions import connection
from sqlalchemy import Engine

from gateway.accounts.store import delete_cutoffs, lock, unlock, users_of_subjects
from shared.auth.issuer_tokens import Subject
from shared.auth.mint_tokens import mint_tokens
from shared.auth.usernames import username_problem
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.free_port import free_port
from tests.support.factories import add_user, run, scalar
from tests.support.gateways import running_gateway
from tests.support.issuers import Issuer, setting_of
from tests.support.servers import new_database
from tests.support.waiting import eventually

ME = "/api/users/me/"


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer().running() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def other_issuer() -> Iterator[Issuer]:
    with Issuer().running() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def gone() -> Issuer:
    with Issuer().running() as issuer:
        return issuer


@pytest.fixture(scope="module")
def gateway_settings(
    postgres_url: str,
    keys_dir: str,
    issuer: Issuer,
    other_issuer: Issuer,
    gone: Issuer,
) -> Iterator[Settings]:
    with new_database(postgres_url) as url:
        yield Settings(
            database_url=url,
            keys_dir=keys_dir,
            catalog_url=f"http://127.0.0.1:{free_port()}",
            answer_timeout_seconds=10.0,
            trusted_issuers=setting_of(issuer, other_issuer, gone),
        )


@pytest.fixture(scope="module")
def gateways(gateway_settings: Settings) -> Iterator[list[httpx.Client]]:
    with running_gateway(gateway_settings) as first, running_gateway(gateway_settings) as second:
        yield [first, second]


@pytest.fixture
def owner(gateway_settings: Settings) -> Iterator[Engine]:
    """The operator's connections."""
    engine = open_engine(gateway_settings, "test")
    yield engine
    engine.dispose()


@pytest.fixture
def database(gateway_settings: Settings) -> Iterator[connection]:
    database = psycopg2.connect(gateway_settings.database_url)
    database.autocommit = True
    yield database
    database.close()


def me(gateway: httpx.Client, token: str) -> httpx.Response:
    return gateway.get(ME, headers={"Authorization": f"Bearer {token}"})


def rows(database: connection, *subjects: str) -> list[tuple[str, str, str | None]]:
    with database.cursor() as reading:
        reading.execute(
            "SELECT issuer, subject, password_hash FROM users WHERE subject = ANY(%s)",
            [list(subjects)],
        )
        return reading.fetchall()


def test_who_first_comes_with_a_token_becomes_a_user_without_a_password(
    gateways: list[httpx.Client], issuer: Issuer, database: connection
) -> None:
    first = me(gateways[0], issuer.token(sub="ada"))
    again = me(gateways[1], issuer.token(sub="ada"))
    assert first.status_code == again.status_code == 200, first.text
    assert first.json() == again.json()
    username = first.json()["username"]
    assert username.endswith("@127.0.0.1")
    assert username_problem(username) is None
    assert rows(database, "ada") == [(issuer.name, "ada", None)]
    sign_in = {"username": username, "password": ""}
    assert gateways[0].post("/api/token/", json=sign_in).status_code in (400, 401)


def test_a_thousand_first_requests_of_one_subject_make_one_user(
    gateways: list[httpx.Client], issuer: Issuer, database: connection
) -> None:
    tokens = [issuer.token(sub="everybody", number=number) for number in range(1_000)]
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda n: me(gateways[n % 2], tokens[n]), range(1_000)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(rows(database, "everybody")) == 1


def test_many_new_subjects_at_once_at_two_gateways_are_one_user_each(
    gateways: list[httpx.Client], issuer: Issuer, database: connection
) -> None:
    subjects = [f"crowd{number}" for number in range(200)]
    tokens = [issuer.token(sub=subject) for subject in subjects]
    # Each gateway meets them in another order.
    turns = [(0, token) for token in tokens] + [(1, token) for token in reversed(tokens)]
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda turn: me(gateways[turn[0]], turn[1]), turns))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == len(subjects)
    assert len(rows(database, *subjects)) == len(subjects)


def test_gateways_that_meet_subjects_in_opposite_orders_do_not_wait_in_a_circle(
    engine: Engine,
) -> None:
    for number in range(3):
        subjects = [Subject(f"https://{number}.example", str(each)) for each in range(3_000)]
        start = Barrier(2)

        def find(order: list[Subject], start: Barrier = start) -> list[int]:
            start.wait()
            return users_of_subjects(engine, order)

        with ThreadPoolExecutor(2) as pool:
            there, back = pool.map(find, (subjects, subjects[::-1]))
        assert there == back[::-1]


def test_a_locked_user_has_no_valid_token_until_unlocked(
    gateways: list[httpx.Client], issuer: Issuer, owner: Engine
) -> None:
    before = issuer.token(sub="locked")
    user_id = me(gateways[0], before).json()["id"]

    def answers(*statuses: int) -> None:
        tokens = (before, issuer.token(sub="locked", iat=int(time.time()) + 2))
        assert tuple(me(gateways[0], token).status_code for token in tokens) == statuses

    lock(owner, user_id)
    eventually(lambda: answers(401, 401))
    unlock(owner, user_id)
    eventually(lambda: answers(401, 200))
    # It may be from before.
    assert me(gateways[0], issuer.token(sub="locked", iat=None)).status_code == 401


def test_when_the_tokens_of_an_issuers_user_ended_is_kept(engine: Engine) -> None:
    """An issuer's tokens may be valid for longer than ours."""
    (of_issuer,) = users_of_subjects(engine, [Subject("https://sso.example", "ada")])
    for user_id in (of_issuer, add_user(engine)):
        run(engine, "INSERT INTO token_cutoffs (user_id, valid_from) VALUES (:id, 7)", id=user_id)
    delete_cutoffs(engine, timedelta(days=1))
    assert scalar(engine, "SELECT array_agg(user_id) FROM token_cutoffs") == [of_issuer]


def test_a_gateway_whose_clock_is_ahead_deletes_no_end_of_valid_tokens(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id, now = add_user(engine), int(time.time())
    run(
        engine,
        "INSERT INTO token_cutoffs (user_id, valid_from) VALUES (:id, :now)",
        id=user_id,
        now=now,
    )
    monkeypatch.setattr(time, "time", lambda: now + 2 * 86_400.0)
    delete_cutoffs(engine, timedelta(days=1))
    assert scalar(engine, "SELECT valid_from FROM token_cutoffs") == now


def test_who_was_erased_comes_back_as_another_user(engine: Engine) -> None:
    ada = Subject("https://sso.example", "ada")
    (first,) = users_of_subjects(engine, [ada])
    assert users_of_subjects(engine, [ada]) == [first]
    run(engine, f"SELECT eventify_erase_user({first})")
    (second,) = users_of_subjects(engine, [ada])
    assert second != first


def test_one_subject_at_two_issuers_is_two_users(
    gateways: list[httpx.Client], issuer: Issuer, other_issuer: Issuer
) -> None:
    ids = {me(gateways[0], each.token(sub="same")).json()["id"] for each in (issuer, other_issuer)}
    assert len(ids) == 2


@pytest.mark.parametrize("sub", ["Ada", "auth0|a b", "e\u0301", "'; --", "😀", "%s", "x" * 255])
def test_a_subject_is_kept_character_for_character(
    gateways: list[httpx.Client], issuer: Issuer, database: connection, sub: str
) -> None:
    for gateway in gateways:
        assert me(gateway, issuer.token(sub=sub)).status_code == 200
    assert rows(database, sub) == [(issuer.name, sub, None)]


def test_a_user_who_was_registered_is_none_of_an_issuers(
    gateways: list[httpx.Client], issuer: Issuer, owner: Engine, gateway_settings: Settings
) -> None:
    with owner.begin() as minting:
        (ours,) = mint_tokens(minting, gateway_settings, ["theo"])
    registered = me(gateways[0], ours).json()
    named_so = me(gateways[0], issuer.token(sub=str(registered["id"]))).json()
    assert registered["username"] == "theo"
    assert named_so["id"] != registered["id"]


def test_every_route_takes_such_a_token(gateways: list[httpx.Client], issuer: Issuer) -> None:
    headers = {"Authorization": f"Bearer {issuer.token(sub='buyer')}"}
    (gateway, _) = gateways
    assert gateway.get("/api/ticket-purchases/", headers=headers).json()["count"] == 0
    unknown = gateway.post(
        "/api/ticket-purchases/", json={"ticket_type": 999, "quantity": 1}, headers=headers
    )
    assert (unknown.status_code, unknown.json()["code"]) == (400, "invalid")
    # It would be forwarded.
    assert gateway.get("/api/events/", headers=headers).status_code == 503
    expired = {"Authorization": f"Bearer {issuer.token(sub='buyer', exp=1)}"}
    for path in (ME, "/api/ticket-purchases/", "/api/events/"):
        assert gateway.get(path, headers=expired).status_code == 401


def test_an_issuer_that_was_never_reached_is_a_503_and_harms_no_other(
    gateways: list[httpx.Client], issuer: Issuer, gone: Issuer
) -> None:
    answer = me(gateways[0], gone.token())
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "Retry-After" in answer.headers
    assert me(gateways[0], issuer.token()).status_code == 200
    assert json.loads(gateways[0].get("/readyz").text)
