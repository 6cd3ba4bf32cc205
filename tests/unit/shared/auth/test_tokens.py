"""Tokens: ours are valid, and nothing else is; keys are added and removed."""

import json
import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from hypothesis import given
from hypothesis import strategies as st

from shared.auth import tokens
from shared.auth.keys import (
    KEYS_RELOAD_SECONDS,
    SIGNS_AFTER_SECONDS,
    SigningKey,
    add_signing_key,
    keys_in,
    load_public_keys,
    load_signing_key,
)
from shared.auth.tokens import (
    UNKNOWN_KEY_RELOAD_SECONDS,
    Claims,
    TokenVerifier,
    bearer_token,
    mint,
)
from shared.config.settings import Settings
from shared.errors import (
    ConfigurationError,
    NotAuthenticated,
    TokenExpired,
    TokenMalformed,
    TokenNotValid,
)
from tests.support.bad_tokens import BAD, GOOD, NOW, STRANGER, Forger, encoded, signed
from tests.support.services import PROJECT

# Not three parts in base64url, of which two are JSON objects.
MALFORMED = {
    *("exp is inf", "exp is nan", "huge and nothing else", "empty", "dots", "many dots"),
    *("four parts", "two parts", "cut off in the payload", "junk in the signature"),
    *("plain base64", "padded base64", "not base64", "NUL", "control character"),
    *("a letter that is not ASCII", "payload is a list", "payload is no JSON"),
    *("payload is nested deeply", "payload is a member nested deeply", "header is a list"),
    *("header is nested deeply", "alg is nested deeply", "header is no JSON"),
    "header of our key is nested deeply",
}


def to_json(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.fixture(scope="module")
def settings(keys_dir: Path) -> Settings:
    return Settings(database_url="postgresql:///unused", keys_dir=keys_dir)


@pytest.fixture
def verifier(settings: Settings) -> TokenVerifier:
    return TokenVerifier(settings)


def access(verifier: TokenVerifier, token: str) -> Claims:
    """What a request does with its token."""
    return verifier.remembered(token) or verifier.verify_and_remember(token)


def test_an_api_key_in_the_place_of_a_token_is_called_one(verifier: TokenVerifier) -> None:
    with pytest.raises(TokenNotValid, match="An API key is no token"):
        verifier.verify("evk_" + "x" * 43, "refresh")


@pytest.mark.parametrize("attack", BAD)
def test_a_bad_token_is_invalid(
    verifier: TokenVerifier, signing_key: SigningKey, attack: str
) -> None:
    # A good one first: what is remembered of it must not help a bad one.
    access(verifier, signed(signing_key))
    with pytest.raises(NotAuthenticated) as refused:
        access(verifier, BAD[attack](Forger(signing_key, GOOD)))
    if attack in MALFORMED:
        assert type(refused.value) is TokenMalformed
    elif attack in ("expired", f"exp is {-(2**70)}"):
        assert type(refused.value) is TokenExpired
    else:
        assert type(refused.value) is TokenNotValid
    # RFC 6750, 3: what its description may be made of.
    assert re.fullmatch(r"[ !#-\[\]-~]+", refused.value.detail)


def test_only_a_genuine_token_has_expired(verifier: TokenVerifier, signing_key: SigningKey) -> None:
    expired = GOOD | {"exp": NOW - 1}
    for claims in ({"iss": "elsewhere"}, {"aud": "elsewhere"}, {"typ": "refresh"}, {"sub": "x"}):
        with pytest.raises(TokenNotValid):
            access(verifier, signed(signing_key, expired | claims))
    for forged in (SigningKey(signing_key.kid, STRANGER), SigningKey("nobody", STRANGER)):
        with pytest.raises(TokenNotValid):
            access(verifier, signed(forged, expired))
    verifier.valid_from = {7: NOW + 1}
    with pytest.raises(TokenNotValid):
        access(verifier, signed(signing_key, expired))


def test_a_good_token_has_its_users_claims(
    verifier: TokenVerifier, signing_key: SigningKey
) -> None:
    claims = access(verifier, signed(signing_key))
    assert (claims.user_id, str(claims.token_id), claims.expires_at) == (
        7,
        GOOD["jti"],
        GOOD["exp"],
    )


def test_any_library_accepts_our_tokens(settings: Settings, signing_key: SigningKey) -> None:
    token = mint(settings, signing_key, 7, "access")
    key = load_public_keys(settings.keys_dir)[signing_key.kid]
    read = jwt.decode(token, key, algorithms=["RS256"], issuer="eventify", audience="eventify")
    assert (read["sub"], read["typ"]) == ("7", "access")


def test_a_refresh_token_is_no_access_token(
    settings: Settings, verifier: TokenVerifier, signing_key: SigningKey
) -> None:
    token = mint(settings, signing_key, 7, "refresh")
    assert verifier.verify(token, "refresh").user_id == 7
    with pytest.raises(NotAuthenticated):
        verifier.verify(token, "access")


def test_a_remembered_token_still_expires(
    settings: Settings, signing_key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = TokenVerifier(settings)
    token = signed(signing_key)
    access(verifier, token)
    monkeypatch.setattr(time, "time", lambda: NOW + 3601.0)
    with pytest.raises(NotAuthenticated):
        access(verifier, token)


@pytest.mark.parametrize("is_remembered", [True, False])
def test_a_token_from_before_its_users_cutoff_is_invalid(
    settings: Settings, verifier: TokenVerifier, signing_key: SigningKey, is_remembered: bool
) -> None:
    now = int(time.time())
    before, after, others = (
        mint(settings, signing_key, user_id, "access", issued_at=issued_at)
        for user_id, issued_at in ((7, now - 1), (7, now), (8, now - 1))
    )
    if is_remembered:
        access(verifier, before)
    verifier.valid_from = {7: now}
    with pytest.raises(NotAuthenticated):
        access(verifier, before)
    assert access(verifier, after).user_id == 7
    assert access(verifier, others).user_id == 8


def test_a_token_that_expires_is_invalid_for_concurrent_requests(
    settings: Settings, signing_key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = TokenVerifier(settings)
    token = signed(signing_key)
    access(verifier, token)
    overtaken: list[str] = []

    def clock() -> float:
        # Whoever looks first is overtaken by another, who is through before it goes on.
        if not overtaken:
            overtaken.append("the other")
            with pytest.raises(NotAuthenticated):
                access(verifier, token)
        return NOW + 3601.0

    monkeypatch.setattr(time, "time", clock)
    with pytest.raises(NotAuthenticated):
        access(verifier, token)
    assert overtaken


# --- rotation ---


@pytest.fixture
def rotation(tmp_path: Path) -> Settings:
    """The settings of a folder of keys that a test may change."""
    return Settings(database_url="postgresql:///unused", keys_dir=tmp_path)


def add_key(settings: Settings, *, age_seconds: float = 0) -> SigningKey:
    """A key that was put into the folder so long ago."""
    kid = add_signing_key(settings.keys_dir)
    put_there_at = time.time() - age_seconds
    os.utime(settings.keys_dir / f"{kid}.pub.pem", (put_there_at, put_there_at))
    private = (settings.keys_dir / f"{kid}.pem").read_bytes()
    return SigningKey(kid, serialization.load_pem_private_key(private, None))


def remove_key(settings: Settings, key: SigningKey) -> None:
    (settings.keys_dir / f"{key.kid}.pem").unlink()
    (settings.keys_dir / f"{key.kid}.pub.pem").unlink()


def let_the_keys_be_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    later = time.monotonic() + KEYS_RELOAD_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: later)


def test_a_new_key_is_found_and_the_old_one_still_verifies(
    rotation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = add_key(rotation)
    verifier = TokenVerifier(rotation)
    access(verifier, signed(old))
    new = add_key(rotation)
    let_the_keys_be_read_again(monkeypatch)
    for key in (old, new):
        assert access(verifier, signed(key)).user_id == 7


@pytest.mark.parametrize("sub", ["7", "8"], ids=["remembered", "not seen before"])
def test_a_key_that_was_removed_verifies_no_more(
    rotation: Settings, monkeypatch: pytest.MonkeyPatch, sub: str
) -> None:
    leaked, good = add_key(rotation), add_key(rotation)
    verifier = TokenVerifier(rotation)
    access(verifier, signed(leaked))
    remove_key(rotation, leaked)
    let_the_keys_be_read_again(monkeypatch)
    with pytest.raises(NotAuthenticated):
        access(verifier, signed(leaked, GOOD | {"sub": sub}))
    assert access(verifier, signed(good)).user_id == 7


def test_a_token_verified_while_its_key_was_removed_is_not_cached(
    rotation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaked = add_key(rotation)
    verifier = TokenVerifier(rotation)
    token = signed(leaked)

    def clock() -> float:
        # The claims' times are looked at after the signature: just then the key goes.
        if leaked.kid in verifier.public_keys():
            remove_key(rotation, leaked)
            let_the_keys_be_read_again(monkeypatch)
            assert verifier.public_keys() == {}
        return float(NOW)

    with monkeypatch.context() as during:
        during.setattr(time, "time", clock)
        access(verifier, token)
    with pytest.raises(NotAuthenticated):
        access(verifier, token)


def test_an_unreadable_public_key_is_skipped(rotation: Settings) -> None:
    key = add_key(rotation)
    (rotation.keys_dir / "half.pub.pem").write_bytes(b"-----BEGIN PUBLIC KEY-----\nMIIB")
    (rotation.keys_dir / "folder.pub.pem").mkdir()
    assert access(TokenVerifier(rotation), signed(key)).user_id == 7


@pytest.mark.parametrize(
    ("age_seconds", "signs"), [(SIGNS_AFTER_SECONDS - 10, "old"), (SIGNS_AFTER_SECONDS, "new")]
)
def test_a_new_key_signs_only_when_every_verifier_has_seen_it(
    rotation: Settings, age_seconds: float, signs: str
) -> None:
    old = add_key(rotation, age_seconds=86_400)
    new = add_key(rotation, age_seconds=age_seconds)
    expected = {"old": old, "new": new}[signs]
    assert load_signing_key(rotation.keys_dir).kid == expected.kid
    assert load_signing_key(rotation.keys_dir, known=old).kid == expected.kid


def test_of_keys_that_are_all_new_the_oldest_signs(rotation: Settings) -> None:
    oldest = add_key(rotation)
    assert load_signing_key(rotation.keys_dir).kid == oldest.kid
    add_key(rotation)
    assert load_signing_key(rotation.keys_dir).kid == oldest.kid


def test_a_key_without_its_public_half_does_not_sign(rotation: Settings) -> None:
    whole, halved = (add_key(rotation, age_seconds=86_400) for _ in range(2))
    (rotation.keys_dir / f"{halved.kid}.pub.pem").unlink()
    assert load_signing_key(rotation.keys_dir).kid == whole.kid
    remove_key(rotation, whole)
    with pytest.raises(ConfigurationError, match="no signing key"):
        load_signing_key(rotation.keys_dir, known=halved)


def test_a_token_of_a_key_that_was_just_added_is_valid(
    rotation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = TokenVerifier(rotation)
    assert verifier.public_keys() == {}
    new = add_key(rotation)
    later = time.monotonic() + UNKNOWN_KEY_RELOAD_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert access(verifier, signed(new)).user_id == 7


def test_tokens_of_unknown_keys_cause_one_read_of_the_directory_a_second(
    rotation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, stranger = add_key(rotation), SigningKey("stranger", STRANGER)
    looks: list[Path] = []

    def counted(folder: Path) -> dict[str, RSAPublicKey]:
        looks.append(folder)
        return load_public_keys(folder)

    monkeypatch.setattr(tokens, "load_public_keys", counted)
    verifier = TokenVerifier(rotation)
    started = time.monotonic()
    for tenth in range(40):
        monkeypatch.setattr(time, "monotonic", lambda tenth=tenth: started + tenth / 10)
        for _ in range(5):
            with pytest.raises(NotAuthenticated):
                access(verifier, signed(stranger))
    assert 2 <= len(looks) <= 4
    assert access(verifier, signed(known)).user_id == 7


def test_processes_that_start_at_once_make_one_key(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    make = (
        "import sys, pathlib, shared.auth.keys as keys; print(flush=True); input();"
        "keys.ensure_signing_key(pathlib.Path(sys.argv[1]))"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", make, str(folder)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    for process in started:  # each has done its imports
        assert process.stdout is not None
        process.stdout.readline()
    for process in started:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in started:
        process.communicate(timeout=60)
    assert [process.returncode for process in started] == [0] * 4
    assert len(keys_in(folder)) == 1


# --- arbitrary input ---

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4),
    max_leaves=8,
)
NAMES = st.sampled_from(["alg", "kid", "crit", "typ", "jku", "alg", "kid", "\ud800", ""])
# Duplicate members, too, which no dictionary has.
OBJECTS = st.lists(st.tuples(NAMES, JSON_VALUES), max_size=5).map(
    lambda members: (
        "{" + ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in members) + "}"
    ).encode()
)
NESTED = st.builds(
    lambda opening, depth, closing: opening * depth + closing * depth,
    st.sampled_from([b"[", b'{"x":', b'{"alg":[', b'[[{"":']),
    st.integers(0, 400),
    st.sampled_from([b"]", b"}", b"]}", b""]),
)
NUMBERS = st.sampled_from([b"1e400", b"-1e400", b"9" * 400, b"NaN", b"Infinity", b"1e-400", b"-"])
PARTS = st.one_of(st.binary(max_size=60), OBJECTS, NESTED, NUMBERS)
SEGMENTS = PARTS.map(encoded) | st.text(max_size=20)


@given(st.lists(SEGMENTS, max_size=4).map(".".join), st.sampled_from(["Bearer ", "bearer  ", ""]))
def test_any_text_as_a_token_is_not_authenticated(
    settings: Settings, token: str, scheme: str
) -> None:
    with pytest.raises(NotAuthenticated):
        access(TokenVerifier(settings), bearer_token(scheme + token))


@given(PARTS | st.fixed_dictionaries(dict.fromkeys(GOOD, JSON_VALUES)).map(to_json))
def test_any_payload_signed_by_our_key_is_valid_or_not_authenticated(
    settings: Settings, signing_key: SigningKey, claims: bytes
) -> None:
    with suppress(NotAuthenticated):
        access(TokenVerifier(settings), signed(signing_key, claims))


# --- without a token, and what is remembered ---


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic eDp5", "bearer  two  words"]
)
def test_without_a_bearer_token_a_request_is_not_authenticated(
    verifier: TokenVerifier, header: str | None
) -> None:
    with pytest.raises(NotAuthenticated):
        access(verifier, bearer_token(header))


def test_headers_of_invalid_tokens_are_not_remembered(
    settings: Settings, signing_key: SigningKey
) -> None:
    verifier = TokenVerifier(settings)
    forger = Forger(signing_key, GOOD)
    for number in range(100):
        with pytest.raises(NotAuthenticated):
            access(verifier, forger.by_a_stranger(STRANGER, number=number))
    assert verifier._trusted.key_by_header == {}


def test_the_cache_is_bounded(settings: Settings, signing_key: SigningKey) -> None:
    verifier = TokenVerifier(settings.model_copy(update={"token_cache_rows": 3}))
    for user in range(1, 10):
        access(verifier, signed(signing_key, GOOD | {"sub": str(user)}))
    assert len(verifier._trusted.checked) == 3
