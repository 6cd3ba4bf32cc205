"""Our check of a token, against PyJWT's: it never accepts what PyJWT refuses.

`pytest --hypothesis-profile=fuzz` tries more. Tokens are built from bytes, not by a library: with
names that are written twice, escaped or of another case, numbers of any form, JSON that is broken
somewhere, and base64 that somebody else would read in another way. Most are signed by our own key,
so that nothing but the form and the claims can be their fault.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from shared.auth.keys import SigningKey
from shared.auth.tokens import CLOCK_SKEW_SECONDS, URL_ALPHABET, Claims, TokenVerifier
from shared.config.settings import Settings
from shared.errors import NotAuthenticated
from tests.support.bad_tokens import GOOD, NOW, RS256, STRANGER, signed

Pairs = list[tuple[str, str]]

# Each signature takes a millisecond, and more on a busy machine.
EXAMPLES = how(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
REQUIRED = ["iss", "aud", "sub", "jti", "iat", "exp"]

# As they stand in JSON.
VALUES = [
    *("null", "true", "false", "{}", "[]", '""', '"RS256"', '"none"', '"HS256"', '"eventify"'),
    *('["eventify"]', '["eventify","x"]', '"access"', '"refresh"', '"7"', '"07"', "7", "-7"),
    *(
        str(NOW - 9),
        str(NOW + 99),
        f"{NOW}.0",
        f"{NOW + 99}e0",
        f'"{NOW + 99}"',
        "1e9",
        "1e400",
    ),
    *("-1e400", "NaN", "Infinity", "-Infinity", str(2**63), str(2**64), str(10**400), "-0"),
    *("01", "+1", "1.", ".5", "0x10", "1_0", '"\\ud800"', '"\\u0000"', '"\\x"', '"\\u12"'),
    *('"a\nb"', '"\t"', "'a'", '"\udcff"', '"a', "[1,]", '{"a":1,}', "[" * 99 + "]" * 99),
    *('["crit"]', '["b64"]', '["exp"]', '"b64"', '{"jwk":{}}', "tru", "nul", "// x", ""),
    *('"01a2035e-7a5b-7c3d-8f4e-2b1a9c8d7e6f"', '"01a2035e7a5b7c3d8f4e2b1a9c8d7e6f"', '"x"'),
]
# Those that decide something, in each spelling; and one that does not.
READ = [
    *("alg", "typ", "kid", "crit", "b64", "iss", "aud", "sub", "jti", "iat", "exp", "nbf"),
    *("\\u0061lg", "e\\u0078p", "ex\\u0070", "nb\\u0066", "x"),
]
NAMES = [
    *(*READ, "jwk", "jku", "x5c", "x5u", "cty", "zip", "enc", "", "Alg", "EXP"),
    *("typ\\u0000", "a\\", "\udcff", "exp ", "\\/exp"),
]
# What is put between two tokens of JSON.
SPACES = st.sampled_from(["", " ", "\n", "\t", "\r\n", "\f", "\u00a0", "\ufeff", "\x00", "/**/"])


@pytest.fixture(scope="module")
def verifier(keys_dir: Path) -> TokenVerifier:
    return TokenVerifier(Settings(database_url="postgresql:///unused", keys_dir=keys_dir))


def claims_of_pyjwt(verifier: TokenVerifier, token: str) -> dict[str, Any]:
    """Raises jwt.PyJWTError, or what parsing arbitrary bytes raises."""
    kid = jwt.get_unverified_header(token)["kid"]
    claims: dict[str, Any] = jwt.decode(
        token,
        verifier.public_keys()[kid],
        algorithms=["RS256"],
        audience="eventify",
        issuer="eventify",
        leeway=CLOCK_SKEW_SECONDS,
        options={"require": REQUIRED},
    )
    return claims


def agrees(verifier: TokenVerifier, token: str) -> None:
    """That PyJWT accepts a token that we accept, and reads the same in it."""
    try:
        ours = verifier.verify(token, "access")
    except NotAuthenticated:
        return
    theirs = claims_of_pyjwt(verifier, token)
    assert theirs["typ"] == "access"
    read = (theirs["sub"], theirs["iat"], theirs["exp"])
    assert read == (str(ours.user_id), ours.issued_at, ours.expires_at)
    assert theirs["jti"].replace("-", "") == ours.token_id.hex


def json_object(pairs: Pairs, space: str = "") -> bytes:
    members = ",".join(f'{space}"{name}"{space}:{space}{value}' for name, value in pairs)
    return f"{space}{{{members}{space}}}{space}".encode("utf-8", "surrogateescape")


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@st.composite
def objects(draw: st.DrawFn, good: dict[str, str]) -> bytes:
    """A JSON object that has up to four changes, and its members in any order."""
    pairs = list(good.items())
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(pairs)))
        name = draw(st.sampled_from([*good, *NAMES]))
        match draw(st.sampled_from(["add", "replace", "remove"])):
            case "add":
                pairs.insert(at, (name, draw(st.sampled_from([*VALUES, *good.values()]))))
            case "replace" if name in dict(pairs):
                pairs = [
                    (n, draw(st.sampled_from(VALUES))) if n == name else (n, v) for n, v in pairs
                ]
            case _:
                pairs = [(n, v) for n, v in pairs if n != name]
    raw = json_object(pairs, draw(st.one_of(st.just(""), SPACES)))
    match draw(st.sampled_from(["as it is"] * 6 + ["bytes", "byte order mark", "tail"])):
        case "bytes":
            at = draw(st.integers(0, len(raw)))
            return raw[:at] + draw(st.binary(max_size=3)) + raw[at + draw(st.integers(0, 2)) :]
        case "byte order mark":
            encoding = draw(st.sampled_from(["utf-8-sig", "utf-16", "utf-16-le", "utf-32"]))
            return raw.decode("latin-1").encode(encoding)
        case "tail":
            return raw + draw(st.sampled_from([b"x", b"{}", b"\x00", b",", b"\n"]))
    return raw


def _hmac_of_public_key(key: SigningKey, body: bytes) -> bytes:
    public = key.private_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hmac.digest(public, body, hashlib.sha256)


SIGNATURES: dict[str, Callable[[SigningKey, bytes], bytes]] = {
    "ours": lambda key, body: RS256.sign(body, key.private_key),
    "RS512": lambda key, body: jwt.get_algorithm_by_name("RS512").sign(body, key.private_key),
    "PS256": lambda key, body: jwt.get_algorithm_by_name("PS256").sign(body, key.private_key),
    "a stranger's": lambda _key, body: RS256.sign(body, STRANGER),
    "HS256 with the public key": _hmac_of_public_key,
    "none": lambda _key, _body: b"",
    "shorter": lambda key, body: RS256.sign(body, key.private_key)[:-1],
    "longer": lambda key, body: RS256.sign(body, key.private_key) + b"\x00",
    "in zeros": lambda key, body: b"\x00" + RS256.sign(body, key.private_key),
}


@st.composite
def segments(draw: st.DrawFn, raw: bytes) -> str:
    """The base64 of these bytes, mostly as RFC 7515 has it."""
    text = base64url(raw)
    match draw(st.sampled_from(["as it is"] * 6 + ["padded", "bits", "plain", "inserted", "cut"])):
        case "padded":
            return text + "=" * draw(st.integers(1, 4))
        case "bits" if text and len(text) % 4:  # those that the last character has in vain
            last = URL_ALPHABET.index(text[-1]) | draw(
                st.integers(0, 15 if len(text) % 4 == 2 else 3)
            )
            return text[:-1] + URL_ALPHABET[last]
        case "plain":
            return base64.b64encode(raw).decode()
        case "inserted":
            at = draw(st.integers(0, len(text)))
            junk = draw(st.sampled_from(["\n", " ", "=", "==", "!", "+", "/", "é", "\x00", "A"]))
            return text[:at] + junk + text[at:]
        case "cut":
            return text[: draw(st.integers(0, len(text)))]
    return text


def good_header(key: SigningKey) -> dict[str, str]:
    return {"alg": '"RS256"', "typ": '"JWT"', "kid": f'"{key.kid}"'}


GOOD_CLAIMS = {n: f'"{v}"' if isinstance(v, str) else str(v) for n, v in GOOD.items()}


@st.composite
def built_tokens(draw: st.DrawFn, key: SigningKey) -> str:
    header, claims = good_header(key), GOOD_CLAIMS
    parts = [draw(segments(draw(objects(good)))) for good in (header, claims)]
    signature = draw(st.sampled_from(["ours"] * 12 + list(SIGNATURES)))
    body = ".".join(parts).encode("utf-8", "surrogateescape")
    return f"{'.'.join(parts)}.{draw(segments(SIGNATURES[signature](key, body)))}"


@EXAMPLES
@given(data=st.data())
def test_a_token_that_pyjwt_refuses_is_refused(
    verifier: TokenVerifier, signing_key: SigningKey, data: st.DataObject
) -> None:
    agrees(verifier, data.draw(built_tokens(signing_key)))


@EXAMPLES
@given(
    at=st.integers(0, 700),
    removed=st.integers(0, 3),
    added=st.text(st.sampled_from(URL_ALPHABET + ".=+/ \n\x00é"), max_size=3),
)
def test_a_changed_token_that_pyjwt_refuses_is_refused(
    verifier: TokenVerifier, signing_key: SigningKey, at: int, removed: int, added: str
) -> None:
    token = signed(signing_key)
    verifier.verify(token, "access")  # its header is known from now on
    agrees(verifier, token[:at] + added + token[at + removed :])


@pytest.mark.parametrize("name", NAMES)
def test_a_token_with_one_more_member_that_pyjwt_refuses_is_refused(
    verifier: TokenVerifier, signing_key: SigningKey, name: str
) -> None:
    header, claims = [*good_header(signing_key).items()], [*GOOD_CLAIMS.items()]
    # Of the other names, one that was taken for `exp` would be read.
    for member in [(name, value) for value in (VALUES if name in READ else [str(NOW + 99)])]:
        for raw in (
            (json_object([*header, member]), json_object(claims)),
            (json_object(header), json_object([*claims, member])),
        ):
            body = ".".join(map(base64url, raw))
            signature = RS256.sign(body.encode(), signing_key.private_key)
            agrees(verifier, f"{body}.{base64url(signature)}")


def test_most_tokens_that_are_built_well_are_accepted(
    verifier: TokenVerifier, signing_key: SigningKey
) -> None:
    """Else the tests above would compare nothing but refusals."""
    assert isinstance(verifier.verify(signed(signing_key), "access"), Claims)
    agrees(verifier, signed(signing_key))
