"""`eventify keys` beside a system that runs: nobody notices a rotation, but everybody a leak."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import jwt
import pytest

from shared.auth.keys import SIGNS_AFTER_SECONDS
from tests.support.waiting import eventually
from tests.system.conftest import Shop, open_shop

ADA = {"username": "ada", "password": "correct horse battery"}


@pytest.fixture
def rotating_shop() -> Iterator[Shop]:
    with open_shop(EVENTIFY_SIGN_IN_RATE_BURST="0") as shop:
        yield shop


def kid_of(token: str) -> str:
    kid: str = jwt.get_unverified_header(token)["kid"]
    return kid


def keys(shop: Shop) -> dict[str, str]:
    """What each key is used for."""
    shown = shop.operator.run("keys", "--json")
    assert shown.returncode == 0, shown.stderr
    return {key["kid"]: key["use"] for key in json.loads(shown.stdout)}


def grow_old(folder: Path) -> None:
    """Every verifier has had its time to see what is in the folder by now."""
    long_ago = time.time() - SIGNS_AFTER_SECONDS - 1
    for file in folder.glob("*.pub.pem"):
        os.utime(file, (long_ago, long_ago))


def test_a_rotation_ends_no_token_and_the_removal_of_a_leaked_key_ends_its_own(
    rotating_shop: Shop,
) -> None:
    shop, operator = rotating_shop, rotating_shop.operator
    visitor = shop.client()
    assert visitor.post("/api/users/", json=ADA).status_code == 201

    def sign_in() -> httpx.Client:
        answer = visitor.post("/api/token/", json=ADA)
        assert answer.status_code == 200, answer.text
        return shop.client(answer.json()["access"])

    def answer(client: httpx.Client) -> int:
        return client.get("/api/users/me/").status_code

    before = sign_in()
    (old,) = keys(shop)
    refused = operator.run("keys", "remove", old, "--force")
    assert refused.returncode == 1
    assert "add another key first" in refused.stderr

    added = operator.run("keys", "add")
    assert added.returncode == 0, added.stderr
    new = added.stdout.split()[0]
    assert "signs from" in added.stdout
    assert keys(shop) == {old: "signs", new: "will sign"}
    grow_old(shop.home.keys)
    assert keys(shop) == {old: "verifies", new: "signs"}

    def the_new_key_signs() -> None:
        token = sign_in().headers["Authorization"].removeprefix("Bearer ")
        assert kid_of(token) == new

    eventually(the_new_key_signs, within_seconds=20)
    shown = visitor.get("/.well-known/jwks.json").json()["keys"]
    assert {key["kid"] for key in shown} == {old, new}
    assert answer(before) == 200

    refused = operator.run("keys", "remove", old)
    assert refused.returncode == 1
    assert f"{old} is kept: tokens that it signed may still be in use" in refused.stderr
    assert operator.run("keys", "remove", old, "--force").returncode == 0

    def old_tokens_have_ended() -> None:
        assert answer(before) == 401

    eventually(old_tokens_have_ended, within_seconds=20)
    assert answer(sign_in()) == 200
    assert keys(shop) == {new: "signs"}
