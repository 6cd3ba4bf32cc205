"""Accounts and tokens."""

from itertools import count
from statistics import median
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
)

from shared.auth.keys import SigningKey, add_signing_key, load_signing_key
from shared.auth.tokens import mint
from tests.support.waiting import eventually
from tests.system.conftest import Shop
from tests.system.contract.problems import check_invalid, check_problem

PASSWORD = "velvet-tram-42"
_numbers = count(1)


@pytest.fixture(scope="module")
def visitor(shop: Shop) -> httpx.Client:
    return shop.client()


@pytest.fixture(scope="module")
def signing_key(shop: Shop) -> SigningKey:
    """The key of the running system."""
    return load_signing_key(shop.settings.keys_dir)


def new_name() -> str:
    return f"ana{next(_numbers)}"


def register(visitor: httpx.Client, **fields: Any) -> httpx.Response:
    return visitor.post("/api/users/", json={"password": PASSWORD} | fields)


@pytest.fixture
def username(visitor: httpx.Client) -> str:
    """The name of a new account."""
    name = new_name()
    assert register(visitor, username=name).status_code == 201
    return name


@pytest.fixture
def pair(visitor: httpx.Client, username: str) -> dict[str, str]:
    """The first tokens of that account."""
    tokens: dict[str, str] = sign_in(visitor, username).json()
    return tokens


def sign_in(visitor: httpx.Client, username: str, password: str = PASSWORD) -> httpx.Response:
    return visitor.post("/api/token/", json={"username": username, "password": password})


def refresh(visitor: httpx.Client, token: str) -> httpx.Response:
    return visitor.post("/api/token/refresh/", json={"refresh": token})


def opens(shop: Shop, token: str) -> set[int]:
    """What a token is answered with by the gateway's routes, ordinary and lean, and the catalog."""
    client = shop.client(token)
    paths = ("/api/users/me/", "/api/ticket-purchases/", "/api/events/")
    return {client.get(path).status_code for path in paths}


def check_token_not_valid(answer: httpx.Response, code: str = "token_not_valid") -> None:
    check_problem(answer, 401, code)
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


# --- the table ---


def test_post_users_answers_201(visitor: httpx.Client) -> None:
    name = new_name()
    made = register(visitor, username=name, email="ana@example.com")
    assert made.status_code == 201
    assert made.json().keys() == {"id", "username", "email", "created_at"}
    assert (made.json()["username"], made.json()["email"]) == (name, "ana@example.com")
    # The e-mail address is optional.
    assert register(visitor, username=new_name()).status_code == 201


def test_post_users_duplicate_name_answers_400_by_field(
    visitor: httpx.Client, username: str
) -> None:
    for name in (username, username.upper()):
        check_invalid(register(visitor, username=name), "username")


def test_post_users_weak_password_answers_400_by_field(visitor: httpx.Client) -> None:
    for weak in ("", "short-1", "8305720194", "password123", "annabella1"):
        answer = register(visitor, username="annabella", password=weak)
        check_invalid(answer, "password")
        assert not weak or weak not in answer.text
    assert sign_in(visitor, "annabella", "password123").status_code == 401


def test_get_users_me_answers_200(shop: Shop, visitor: httpx.Client) -> None:
    made = register(visitor, username=new_name(), email="ana@example.com").json()
    access = sign_in(visitor, made["username"]).json()["access"]
    me = shop.client(access).get("/api/users/me/")
    assert (me.status_code, me.json()) == (200, made)


def test_post_token_answers_200_with_access_and_refresh(
    shop: Shop, visitor: httpx.Client, username: str
) -> None:
    answer = sign_in(visitor, username)
    assert (answer.status_code, answer.json().keys()) == (200, {"access", "refresh"})
    assert answer.headers["Cache-Control"] == "no-store"
    assert opens(shop, answer.json()["access"]) == {200}
    assert opens(shop, answer.json()["refresh"]) == {401}


def test_post_token_wrong_answers_401_in_the_same_words_for_an_unknown_name(
    visitor: httpx.Client, username: str
) -> None:
    wrong, unknown = sign_in(visitor, username, "another-tram-42"), sign_in(visitor, new_name())
    assert (wrong.status_code, unknown.status_code) == (401, 401)
    assert wrong.content == unknown.content
    varying = {"date", "x-request-id", "ratelimit", "retry-after"}

    def headers(answer: httpx.Response) -> dict[str, str]:
        return {name: answer.headers[name] for name in answer.headers.keys() - varying}

    assert headers(wrong) == headers(unknown)
    assert wrong.headers["WWW-Authenticate"].startswith("Bearer")


def test_post_token_wrong_takes_the_same_time_for_an_unknown_name(
    visitor: httpx.Client, username: str
) -> None:
    def seconds(name: str) -> float:
        answer = sign_in(visitor, name, "another-tram-42")
        assert answer.status_code == 401
        return answer.elapsed.total_seconds()

    # In turns, so that a busy machine slows both. Without hashing, one takes a tenth of the other.
    pairs = [(seconds(username), seconds(new_name())) for _ in range(9)]
    wrong, unknown = (median(times) for times in zip(*pairs, strict=True))
    assert 0.5 < unknown / wrong < 2


def test_post_token_refresh_answers_200_with_a_new_pair(
    shop: Shop, visitor: httpx.Client, pair: dict[str, str]
) -> None:
    answer = refresh(visitor, pair["refresh"])
    assert (answer.status_code, answer.json().keys()) == (200, {"access", "refresh"})
    assert answer.headers["Cache-Control"] == "no-store"
    assert not set(answer.json().values()) & set(pair.values())
    assert opens(shop, answer.json()["access"]) == {200}
    assert refresh(visitor, answer.json()["refresh"]).status_code == 200


def test_post_token_refresh_is_single_use_and_a_spent_one_revokes_the_whole_family(
    shop: Shop, visitor: httpx.Client, pair: dict[str, str], username: str
) -> None:
    elsewhere = sign_in(visitor, username).json()
    successor = refresh(visitor, pair["refresh"]).json()
    newest = refresh(visitor, successor["refresh"]).json()
    _let_pass(shop, pair["refresh"], seconds=61)
    check_token_not_valid(refresh(visitor, pair["refresh"]))
    for token in (newest, successor, pair):
        check_token_not_valid(refresh(visitor, token["refresh"]))
    # Another login of the same user is another family.
    assert refresh(visitor, elsewhere["refresh"]).status_code == 200


def test_post_token_refresh_retried_within_a_minute_gets_the_same_pairs_successor(
    shop: Shop, visitor: httpx.Client, pair: dict[str, str]
) -> None:
    first = refresh(visitor, pair["refresh"])
    _let_pass(shop, pair["refresh"], seconds=50)
    retried = refresh(visitor, pair["refresh"])
    assert (first.status_code, retried.status_code) == (200, 200)
    assert retried.json() == first.json()
    assert refresh(visitor, retried.json()["refresh"]).status_code == 200


def _let_pass(shop: Shop, spent: str, seconds: int) -> None:
    """As if a refresh token had been spent so much earlier."""
    token_id = jwt.decode(spent, options={"verify_signature": False})["jti"]
    with shop.database() as statements:
        # The database's guards do not let a time be changed.
        statements.execute("SET session_replication_role = replica")
        statements.execute(
            "UPDATE refresh_tokens SET spent_at = spent_at - %s * interval '1 second'"
            " WHERE id = %s AND spent_at IS NOT NULL",
            (seconds, token_id),
        )
        assert statements.rowcount == 1


def test_post_token_verify_as_in_simplejwt(visitor: httpx.Client, pair: dict[str, str]) -> None:
    def verify(**body: object) -> httpx.Response:
        return visitor.post("/api/token/verify/", json=body)

    for token in pair.values():
        holds = verify(token=token)
        assert (holds.status_code, holds.json()) == (200, {})
    check_token_not_valid(verify(token=pair["access"] + "x"))
    for bad in ("nonsense", "x" * 5_000):
        check_token_not_valid(verify(token=bad), "token_malformed")
    check_invalid(verify(), "token")
    visitor.post("/api/token/blacklist/", json={"refresh": pair["refresh"]})
    check_token_not_valid(verify(token=pair["refresh"]))


def test_post_token_blacklist_as_in_simplejwt(visitor: httpx.Client, pair: dict[str, str]) -> None:
    def blacklist(**body: object) -> httpx.Response:
        return visitor.post("/api/token/blacklist/", json=body)

    done = blacklist(refresh=pair["refresh"])
    assert (done.status_code, done.json()) == (200, {})
    check_token_not_valid(refresh(visitor, pair["refresh"]))
    for bad in (pair["refresh"], pair["access"]):
        check_token_not_valid(blacklist(refresh=bad))
    check_token_not_valid(blacklist(refresh="nonsense"), "token_malformed")
    check_invalid(blacklist(), "refresh")


def test_get_jwks_answers_the_public_keys(visitor: httpx.Client, pair: dict[str, str]) -> None:
    answer = visitor.get("/.well-known/jwks.json")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "public, max-age=300"
    for key in answer.json()["keys"]:
        assert key.keys() == {"kty", "use", "alg", "kid", "n", "e"}  # and no private member
    keys = jwt.PyJWKSet.from_dict(answer.json())
    for token in pair.values():
        key = keys[jwt.get_unverified_header(token)["kid"]]
        jwt.decode(token, key, algorithms=["RS256"], audience="eventify", issuer="eventify")


def test_get_jwks_rotation_by_overlap(
    shop: Shop, visitor: httpx.Client, username: str, signing_key: SigningKey
) -> None:
    folder = shop.settings.keys_dir
    old = sign_in(visitor, username).json()
    kid = add_signing_key(folder)
    new_file = folder / f"{kid}.pem"
    private_key = load_pem_private_key(new_file.read_bytes(), password=None)
    assert isinstance(private_key, RSAPrivateKey)
    new_key = SigningKey(kid, private_key)
    user_id = shop.client(old["access"]).get("/api/users/me/").json()["id"]

    def both_hold() -> None:
        keys = visitor.get("/.well-known/jwks.json").json()["keys"]
        assert {kid, signing_key.kid} <= {key["kid"] for key in keys}
        assert opens(shop, mint(shop.settings, new_key, user_id, "access")) == {200}
        assert opens(shop, old["access"]) == {200}

    eventually(both_hold)
    for file in (new_file, folder / f"{kid}.pub.pem"):
        file.unlink()
