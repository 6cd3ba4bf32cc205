"""An OpenID Connect issuer: a real HTTP server with a token endpoint and a JWK Set."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.support.http_servers import Quiet, serving

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
Respond = Callable[[BaseHTTPRequestHandler], None]
AUDIENCE = "tickets"


class Issuer:
    """By default it signs as Keycloak does. `respond`: instead of its JWK Set."""

    def __init__(self, port: int = 0) -> None:
        self.keys: dict[str, PrivateKey] = {}
        self.fetches = 0
        self.respond: Respond = _send_keys
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler_of(self))
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.name = f"{self.url}/realms/shop"
        self.kid = self.add_key()

    def setting(self, **changes: Any) -> dict[str, Any]:
        certs = f"{self.url}/certs"
        return {"issuer": self.name, "audience": AUDIENCE, "jwks_url": certs} | changes

    def add_key(self, key: PrivateKey | None = None) -> str:
        kid = uuid4().hex
        self.keys[kid] = key or rsa.generate_private_key(65537, 2048)
        return kid

    def token(
        self,
        *,
        kid: str | None = None,
        header: dict[str, Any] | None = None,
        key: PrivateKey | None = None,
        algorithm: str | None = None,
        **claims: Any,
    ) -> str:
        """A token; claims and header members that are None are left out."""
        kid = kid or self.kid
        key = key or self.keys[kid]
        algorithm = algorithm or ("RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256")
        now = int(time.time())
        payload = {
            "iss": self.name,
            "aud": [AUDIENCE, "account"],
            "sub": "f:7e1c:ada",
            "typ": "Bearer",
            "azp": "shop",
            "iat": now,
            "exp": now + 300,
        } | claims
        members = {"typ": "JWT", "kid": kid} | (header or {})
        if members["typ"] is None:
            members["typ"] = ""  # PyJWT then writes none
        return jwt.encode(
            {name: value for name, value in payload.items() if value is not None},
            key,
            algorithm=algorithm,
            headers={name: value for name, value in members.items() if value is not None},
        )

    def jwks(self) -> dict[str, Any]:
        return jwks_of(self.keys)

    def pem(self) -> bytes:
        return (
            self.keys[self.kid]
            .public_key()
            .public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )

    @contextmanager
    def running(self) -> Iterator["Issuer"]:
        with serving(self._server):
            yield self


def jwks_of(keys: Mapping[str, PrivateKey]) -> dict[str, Any]:
    return {"keys": [_jwk(kid, key) for kid, key in keys.items()]}


def setting_of(*issuers: Issuer) -> str:
    return json.dumps([issuer.setting() for issuer in issuers])


def respond_with(body: bytes, status: int = 200, **headers: str) -> Respond:
    def respond(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    return respond


def _send_keys(request: BaseHTTPRequestHandler) -> None:
    respond_with(json.dumps(_issuer_of(request).jwks()).encode())(request)


def _issuer_of(request: BaseHTTPRequestHandler) -> Issuer:
    issuer: Issuer = request.issuer  # type: ignore[attr-defined]
    return issuer


def _handler_of(of: Issuer) -> type[BaseHTTPRequestHandler]:
    class Handler(Quiet, BaseHTTPRequestHandler):
        issuer = of

        def do_GET(self) -> None:
            of.fetches += 1
            of.respond(self)

        def do_POST(self) -> None:
            """The token endpoint: a token of these claims."""
            length = int(self.headers["Content-Length"])
            claims = dict(parse_qsl(self.rfile.read(length).decode()))
            answer = {"access_token": of.token(**claims), "token_type": "Bearer"}
            respond_with(json.dumps(answer).encode())(self)

    return Handler


def _jwk(kid: str, key: PrivateKey) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        jwk = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        alg = "RS256"
    else:
        jwk = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        alg = "ES256"
    return {**jwk, "kid": kid, "use": "sig", "alg": alg}
