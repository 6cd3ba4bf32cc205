"""Every way that we know of forging a token: each is a good one but for what its name says."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from shared.auth.keys import SigningKey

NOW = int(time.time())
GOOD = {
    "iss": "eventify",
    "aud": "eventify",
    "sub": "7",
    "typ": "access",
    "jti": "01a2035e-7a5b-7c3d-8f4e-2b1a9c8d7e6f",
    "iat": NOW,
    "exp": NOW + 3600,
}
RS256 = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256)


def encoded(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(key: SigningKey, claims: object = GOOD, **header: Any) -> str:
    """A token of these claims, or of these bytes, with a signature that is right for it."""
    return _signed({"alg": "RS256", "typ": "JWT", "kid": key.kid} | header, claims, key)


def _signed(header: dict[str, Any], claims: object, key: SigningKey) -> str:
    body = f"{encoded(header)}.{encoded(claims)}"
    return f"{body}.{encoded(RS256.sign(body.encode(), key.private_key))}"


def nested(claims: dict[str, Any]) -> bytes:
    return json.dumps(claims).encode()[:-1] + b',"x":' + b"[" * 1_000 + b"]" * 1_000 + b"}"


@dataclass(frozen=True)
class Forger:
    """Knows what is in a good token of some user; for what only a key can do, has the key."""

    key: SigningKey
    good: dict[str, Any]

    def signed(self, **header: Any) -> str:
        return signed(self.key, self.good, **header)

    def claiming(self, **claims: Any) -> str:
        return signed(self.key, self.good | claims)

    def without(self, claim: str) -> str:
        return signed(self.key, {name: self.good[name] for name in self.good if name != claim})

    def with_header(self, **header: Any) -> str:
        return _signed(header, self.good, self.key)

    def unsigned(self, alg: str) -> str:
        return f"{encoded({'alg': alg, 'kid': self.key.kid})}.{encoded(self.good)}."

    def by_hmac(self, secret: bytes) -> str:
        """The old confusion: HS256, with the public key as the secret."""
        body = (
            f"{encoded({'alg': 'HS256', 'typ': 'JWT', 'kid': self.key.kid})}.{encoded(self.good)}"
        )
        return f"{body}.{encoded(hmac.digest(secret, body.encode(), hashlib.sha256))}"

    def by_a_stranger(self, stranger: RSAPrivateKey, **header: Any) -> str:
        return signed(SigningKey(self.key.kid, stranger), self.good, **header)

    def public(self, encoding: serialization.Encoding) -> bytes:
        return self.key.private_key.public_key().public_bytes(
            encoding, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def spoilt(self, part: int, **claims: Any) -> str:
        """One part changed after signing: 0 header, 1 payload, 2 signature."""
        parts = self.signed().split(".")
        parts[part] = {
            0: encoded({"alg": "RS256", "kid": self.key.kid, "x": 1}),
            1: encoded(self.good | {"sub": "8"}),
            2: ("A" if parts[2][0] != "A" else "B") + parts[2][1:],
        }[part]
        return ".".join(parts)


STRANGER = generate_private_key(65537, 2048)
STRANGERS_JWK = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(STRANGER.public_key()))
ELSEWHERE = "http://127.0.0.1:1/keys"  # nobody listens there, and nobody is to ask
NESTED_JSON = b'{"x":' + b"[" * 1_000 + b"]" * 1_000 + b"}"
NESTED_OBJECTS = b'{"x":' * 400 + b"0" + b"}" * 400
NESTED_ALG = b'{"alg":' + b"[" * 1_000 + b"]" * 1_000 + b"}"
HUGE_NUMBERS = b'{"kid":"x","alg":"RS256","crit":' + b"9" * 2_000 + b',"x":1e400,"y":-1e-400}'
# They stand in the names of tests, which every process of a run must give alike: no clock here.
WRONG_TYPES: dict[str, list[object]] = {
    "iss": [None, 1, ["eventify"]],
    "aud": [None, 1, ["eventify"], ["eventify", "elsewhere"]],
    "sub": [None, 7, ["7"], {"id": 7}],
    "typ": [None, 1, ["access"]],
    "jti": [None, 1, "1"],
    "iat": [None, "now", True, [1]],
    "exp": [None, "never", True, [2**40], 1e400, float("nan"), -(2**70)],
    "nbf": [None, "now", [0]],
}

BAD: dict[str, Callable[[Forger], str]] = {
    **{
        f"alg {alg!r} and no signature": lambda f, alg=alg: f.unsigned(alg)
        for alg in ("none", "None", "NONE", "nOnE", "none ", "", "RS256")
    },
    "HS256 with the public key": lambda f: f.by_hmac(f.public(serialization.Encoding.PEM)),
    "HS256 with the public key's DER": lambda f: f.by_hmac(f.public(serialization.Encoding.DER)),
    "HS256 with nothing": lambda f: f.by_hmac(b""),
    "alg none, rightly signed": lambda f: f.signed(alg="none"),
    "alg RS512 in the header": lambda f: f.signed(alg="RS512"),
    "alg in small letters": lambda f: f.signed(alg="rs256"),
    "no alg": lambda f: f.with_header(kid=f.key.kid),
    "alg is a list": lambda f: f.signed(alg=["RS256"]),
    "critical extension": lambda f: f.signed(crit=["b64"], b64=False),
    "wrong key": lambda f: f.by_a_stranger(STRANGER),
    "key in the header": lambda f: f.by_a_stranger(STRANGER, jwk=STRANGERS_JWK),
    "key by jku": lambda f: f.by_a_stranger(STRANGER, kid="x", jku=ELSEWHERE),
    "key by x5u": lambda f: f.by_a_stranger(STRANGER, kid="x", x5u=ELSEWHERE),
    "key by x5c": lambda f: f.by_a_stranger(STRANGER, x5c=["MIIB"]),
    "unknown kid": lambda f: f.signed(kid="nobody"),
    "no kid": lambda f: f.with_header(alg="RS256"),
    "kid is empty": lambda f: f.signed(kid=""),
    "kid is a path": lambda f: f.signed(kid=f"../keys/{f.key.kid}"),
    "kid is a file": lambda f: f.signed(kid="/dev/null"),
    "kid is the key's file": lambda f: f.signed(kid=f"{f.key.kid}.pub.pem"),
    "kid is SQL": lambda f: f.signed(kid="' OR '1'='1"),
    "kid is a URL": lambda f: f.by_a_stranger(STRANGER, kid=ELSEWHERE),
    "kid has a NUL": lambda f: f.signed(kid=f"{f.key.kid}\0"),
    "kid is a number": lambda f: f.signed(kid=1),
    "header changed": lambda f: f.spoilt(0),
    "payload changed": lambda f: f.spoilt(1),
    "signature changed": lambda f: f.spoilt(2),
    "expired": lambda f: f.claiming(exp=NOW - 1),
    "issued in the future": lambda f: f.claiming(iat=NOW + 3600, exp=NOW + 7200),
    "not yet valid": lambda f: f.claiming(nbf=NOW + 3600),
    "wrong issuer": lambda f: f.claiming(iss="elsewhere"),
    "wrong audience": lambda f: f.claiming(aud="elsewhere"),
    "refresh token": lambda f: f.claiming(typ="refresh"),
    "type in capitals": lambda f: f.claiming(typ="ACCESS"),
    **{f"no {name}": lambda f, name=name: f.without(name) for name in GOOD},
    **{
        f"{name} is {value!r}": lambda f, name=name, value=value: f.claiming(**{name: value})
        for name, values in WRONG_TYPES.items()
        for value in values
    },
    **{
        f"sub is {sub[:20]!r}": lambda f, sub=sub: f.claiming(sub=sub)
        for sub in ("", "0", "-1", "1.5", "ada", "７", " 7", "7 ", "07", str(2**63), "1" * 400)
    },
    "huge": lambda f: f.claiming(more="x" * 10_000),
    "huge and nothing else": lambda _f: "x" * 10_000,
    "empty": lambda _f: "",
    "dots": lambda _f: "..",
    "many dots": lambda _f: "." * 4_000,
    "four parts": lambda f: f.signed() + ".x",
    "two parts": lambda f: f.signed().rpartition(".")[0],
    "no signature": lambda f: f.signed().rpartition(".")[0] + ".",
    "cut off in the signature": lambda f: f.signed()[:-4],
    "cut off in the payload": lambda f: f.signed()[:100],
    "junk in the signature": lambda f: f.signed() + "!",
    "plain base64": lambda f: f.signed().replace("_", "/").replace("-", "+") + "+/",
    "padded base64": lambda f: f.signed() + "==",
    "not base64": lambda _f: "%%%.%%%.%%%",
    "NUL": lambda f: f.signed() + "\0",
    "control character": lambda f: f.signed()[:50] + "\x1b" + f.signed()[50:],
    "a letter that is not ASCII": lambda f: f.signed() + "é",
    "payload is a list": lambda f: signed(f.key, []),
    "payload is no JSON": lambda f: signed(f.key, b"\xff"),
    "payload is nested deeply": lambda f: signed(f.key, b"[" * 2_000),
    "payload is a member nested deeply": lambda f: signed(f.key, nested(f.good)),
    "header is nested deeply": lambda f: f"{encoded(NESTED_JSON)}.e30.AA",
    "header is nested deeply in objects": lambda _f: f"{encoded(NESTED_OBJECTS)}.e30.AA",
    "alg is nested deeply": lambda _f: f"{encoded(NESTED_ALG)}.e30.AA",
    "header of our key is nested deeply": lambda f: (
        f"{encoded(nested({'alg': 'RS256', 'kid': f.key.kid}))}.{encoded(f.good)}.AA"
    ),
    "header's number is beyond every range": lambda _f: f"{encoded(HUGE_NUMBERS)}.e30.AA",
    "header is a list": lambda f: f"{encoded([])}.{encoded(f.good)}.AAAA",
    "header is no JSON": lambda f: f"{encoded(b'{')}.{encoded(f.good)}.AAAA",
}
