"""`eventify keys` beside a gateway: a rotation ends no token, a removal those of its key."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import CompletedProcess

import httpx
import jwt
import pytest

from shared.auth.keys import SIGNS_AFTER_SECONDS, ensure_signing_key
from shared.config.settings import Settings
from shared.free_port import free_port
from tests.support.command import eventify
from tests.support.services import running_service
from tests.support.waiting import eventually

ADA = {"username": "ada", "password": "correct horse battery"}


class Gateway:
    """Ada's requests to one gateway, and its operator's commands."""

    def __init__(self, url: str, folder: Path) -> None:
        self.folder = folder
        self._client = httpx.Client(base_url=url, verify=False)
        assert self._client.post("/api/users/", json=ADA).status_code == 201

    def close(self) -> None:
        self._client.close()

    def sign_in(self) -> str:
        answer = self._client.post("/api/token/", json=ADA)
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["access"]
        return token

    def answer_to(self, token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return self._client.get("/api/users/me/", headers=headers).status_code

    def published_kids(self) -> set[str]:
        return {key["kid"] for key in self._client.get("/.well-known/jwks.json").json()["keys"]}

    def keys(self, *arguments: str) -> CompletedProcess[str]:
        own = {"EVENTIFY_HOME": str(self.folder.parent), "EVENTIFY_KEYS_DIR": str(self.folder)}
        return eventify("keys", *arguments, **own)

    def uses(self) -> dict[str, str]:
        """What each key is used for."""
        shown = self.keys("--json")
        assert shown.returncode == 0, shown.stderr
        return {key["kid"]: key["use"] for key in json.loads(shown.stdout)}


@pytest.fixture
def gateway(settings: Settings, tmp_path: Path) -> Iterator[Gateway]:
    own = {"gateway_port": free_port(), "keys_dir": tmp_path / "keys"}
    ensure_signing_key(tmp_path / "keys")
    url = f"http://127.0.0.1:{own['gateway_port']}"
    with ExitStack() as stack:
        rotating = Settings(**settings.model_dump() | own)
        stack.enter_context(running_service("gateway", rotating, f"{url}/readyz"))
        gateway = Gateway(url, tmp_path / "keys")
        stack.callback(gateway.close)
        yield gateway


def kid_of(token: str) -> str:
    kid: str = jwt.get_unverified_header(token)["kid"]
    return kid


def grow_old(folder: Path) -> None:
    """Every verifier has had its time to see what is in the folder by now."""
    long_ago = time.time() - SIGNS_AFTER_SECONDS - 1
    for file in folder.glob("*.pub.pem"):
        os.utime(file, (long_ago, long_ago))


def test_a_rotation_ends_no_token_and_the_removal_of_a_leaked_key_ends_its_own(
    gateway: Gateway,
) -> None:
    before = gateway.sign_in()
    (old,) = gateway.uses()
    only_key = gateway.keys("remove", old, "--force")
    assert only_key.returncode == 1
    assert "add another key first" in only_key.stderr

    added = gateway.keys("add")
    assert added.returncode == 0, added.stderr
    new = added.stdout.split()[0]
    assert "signs from" in added.stdout
    assert gateway.uses() == {old: "signs", new: "will sign"}
    grow_old(gateway.folder)
    assert gateway.uses() == {old: "verifies", new: "signs"}

    def the_new_key_signs() -> None:
        assert kid_of(gateway.sign_in()) == new

    eventually(the_new_key_signs, within_seconds=20)
    assert gateway.published_kids() == {old, new}
    assert gateway.answer_to(before) == 200

    still_needed = gateway.keys("remove", old)
    assert still_needed.returncode == 1
    assert f"{old} is kept: tokens that it signed may still be in use" in still_needed.stderr
    assert gateway.keys("remove", old, "--force").returncode == 0

    def old_tokens_have_ended() -> None:
        assert gateway.answer_to(before) == 401

    eventually(old_tokens_have_ended, within_seconds=20)
    assert gateway.answer_to(gateway.sign_in()) == 200
    assert gateway.uses() == {new: "signs"}
