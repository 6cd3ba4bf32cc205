"""The setting of trusted issuers: what is wrong with it is said by its name."""

import json
from typing import Any

import pytest

from shared.config.settings import Settings, get_settings
from shared.config.trusted_issuers import parse_issuers
from shared.errors import ConfigurationError

ISSUER = {
    "issuer": "https://sso.shop.example/realms/shop",
    "audience": "tickets",
    "jwks_url": "https://sso.shop.example/realms/shop/protocol/openid-connect/certs",
}


def test_an_issuer_has_defaults() -> None:
    (issuer,) = parse_issuers(json.dumps([ISSUER]))
    assert (issuer.algorithms, issuer.leeway_seconds) == (("RS256",), 5)
    assert parse_issuers("") == parse_issuers("[]") == ()


@pytest.mark.parametrize(
    "jwks_url", ["http://127.0.0.1:8080/certs", "http://localhost/certs", "http://[::1]:1/certs"]
)
def test_keys_may_come_from_this_machine_without_tls(jwks_url: str) -> None:
    parse_issuers(json.dumps([ISSUER | {"jwks_url": jwks_url}]))


def test_keys_may_come_without_tls_where_that_is_allowed() -> None:
    insecure = ISSUER | {"jwks_url": "http://keycloak:8080/certs", "allow_http": True}
    parse_issuers(json.dumps([insecure]))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"audience": ""}, "audience"),
        ({"audience": None}, "audience"),
        ({"issuer": "shop"}, "http"),
        ({"issuer": "https://"}, "host"),
        ({"issuer": f"https://{'x' * 300}/"}, "issuer"),
        ({"issuer": "eventify"}, "EVENTIFY_TOKEN_ISSUER"),
        ({"jwks_url": "http://sso.shop.example/certs"}, "allow_http"),
        ({"jwks_url": "http://127.0.0.1.example/certs"}, "allow_http"),
        ({"jwks_url": "file:///etc/passwd"}, "http"),
        ({"jwks_url": "https://user:secret@sso.shop.example/"}, "user info"),
        ({"jwks_url": "https://sso.shop.example/\n"}, "http"),
        ({"algorithms": []}, "algorithms"),
        ({"algorithms": ["HS256"]}, "algorithms"),
        ({"algorithms": ["none"]}, "algorithms"),
        ({"algorithms": "RS256"}, "algorithms"),
        ({"leeway_seconds": 61}, "leeway_seconds"),
        ({"jwks_uri": "https://sso.shop.example/"}, "jwks_uri"),
    ],
)
def test_a_mistake_is_named(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], problem: str
) -> None:
    monkeypatch.setenv("EVENTIFY_DATABASE_URL", "postgresql:///unused")
    monkeypatch.setenv("EVENTIFY_TRUSTED_ISSUERS", json.dumps([ISSUER | changes]))
    if problem == "EVENTIFY_TOKEN_ISSUER":
        monkeypatch.setenv("EVENTIFY_TOKEN_ISSUER", ISSUER["issuer"])
        monkeypatch.setenv("EVENTIFY_TRUSTED_ISSUERS", json.dumps([ISSUER]))
    with pytest.raises(ConfigurationError, match=f"EVENTIFY_TRUSTED_ISSUERS must.*{problem}"):
        get_settings()


@pytest.mark.parametrize("setting", ["{", "{}", "1", '["https://sso.shop.example"]', "[" * 5_000])
def test_what_is_no_list_of_issuers_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match="must be a JSON list of issuers"):
        Settings(database_url="postgresql:///unused", trusted_issuers=setting)


def test_an_issuer_is_named_once() -> None:
    with pytest.raises(ValueError, match="once"):
        parse_issuers(json.dumps([ISSUER, ISSUER]))
