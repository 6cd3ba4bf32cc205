"""A line of the log: JSON without secrets."""

import json
import logging
import time
from typing import Any

import pytest

from shared.config.settings import Settings
from shared.observability.logging import REDACTED, TEXT_MAX_CHARACTERS, JsonWithoutSecrets

PASSWORD = 'p@ss"w0rd/of us'
SETTINGS = Settings(
    database_url="postgresql://eventify:p%40ss%22w0rd%2Fof%20us@db/eventify",
    redis_url="redis://:opensesame@cache:6379/0",
    broker_url="redis+sentinel://s/eventify/0?sentinel_password=shibboleth%21&sentinel_username=me",
)
API_KEY = "evk_tgj-R_" + "0aZ" * 12 + "x"
TOKEN = "eyJhbGciOiJSUzI1NiIs.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


def line(**fields: Any) -> str:
    return JsonWithoutSecrets(SETTINGS)(logging.getLogger(), "info", {"event": "tried", **fields})


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"Bearer {TOKEN} of mira", f"Bearer {REDACTED} of mira"),
        (f"first{TOKEN}.next {TOKEN}", f"first{REDACTED}.next {REDACTED}"),
        (f"line\n{TOKEN.rpartition('.')[0]}\nline", f"line\n{REDACTED}\nline"),
        (f"v1.2.{TOKEN}, eyJ.x.eyJ", f"v1.2.{REDACTED}, eyJ.x.eyJ"),
        (
            "row (1, mira, $argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA)",
            f"row (1, mira, {REDACTED})",
        ),
        (f'FATAL: password "{PASSWORD}" is wrong', f'FATAL: password "{REDACTED}" is wrong'),
        ("no route to p%40ss%22w0rd%2Fof%20us", f"no route to {REDACTED}"),
        ("redis says opensesame", f"redis says {REDACTED}"),
        ("of shibboleth%21, or shibboleth!", f"of {REDACTED}, or {REDACTED}"),
        ("to amqp://guest:hop@rabbit:5672//", f"to amqp://{REDACTED}@rabbit:5672//"),
        ("to amqp://a@b:hop@rabbit:5672//", f"to amqp://{REDACTED}@rabbit:5672//"),
        ("to amqp://guest:h@p@rabbit:5672//", f"to amqp://{REDACTED}@rabbit:5672//"),
        (
            "to rediss://c:6379/0?ssl_password=hop&db=2",
            f"to rediss://c:6379/0?ssl_password={REDACTED}&db=2",
        ),
        (
            "a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nb",
            f"a\n{REDACTED}\nb",
        ),
        ("a -----BEGIN PRIVATE KEY----- MIIE", f"a {REDACTED}"),
        (f"/api/{API_KEY}/ {API_KEY}.", f"/api/{REDACTED}/ {REDACTED}."),
        ("evk_ whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2+/LaSw== evk_short", f"evk_ {REDACTED} evk_short"),
        ('a -----BEGIN PRIVATE KEY----- M"IIE\\', f"a {REDACTED}"),
        (
            "eventify listens at http://127.0.0.1:8000/api/",
            "eventify listens at http://127.0.0.1:8000/api/",
        ),
    ],
)
def test_secrets_are_removed_and_the_rest_stays(text: str, left: str) -> None:
    assert json.loads(line(error=text, nested=[text])) == {
        "event": "tried",
        "error": left,
        "nested": [left],
    }


@pytest.mark.parametrize(
    "part",
    [
        *("eyJ", "eyJ.", ".eyJ", "eyJa.eyJ", "a.", "eyJ-", "$argon2", "$argon2id$", "://", "://a:"),
        *("://a:b", "a:b@", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "-----END ", "PRIVATE "),
        *("opensesam", "evk_", "evk_abc ", "whsec_=", "\\", '"', "\u00e9", "\ud800"),
        *("password=", "password=a&"),
    ],
)
def test_a_line_is_searched_in_linear_time(part: str) -> None:
    # A search that begins again at each place takes seconds for this. The nested one is not cut.
    text = part * (60_000 // len(part))
    began = time.process_time()
    line(path=text, nested=[text], message=f"eyJ.eyJ.eyJ ://a:b@c $argon2$ PRIVATE KEY {text}")
    assert time.process_time() - began < 1


def test_a_long_text_is_cut_and_keeps_its_beginning_and_its_end() -> None:
    text = "Traceback" + " of 10 kB" * 10_000 + " ValueError: why"
    logged = json.loads(line(exception=text))["exception"]
    assert logged.startswith("Traceback of 10 kB")
    assert logged.endswith(" ValueError: why")
    assert len(logged) < TEXT_MAX_CHARACTERS + 100


@pytest.mark.parametrize("place", range(0, 300, 7))
def test_no_secret_is_left_where_a_text_is_cut(place: int) -> None:
    hash_ = "$argon2id$v=19$m=19456,t=2,p=1$" + "s" * 100 + "$" + "h" * 100
    half = TEXT_MAX_CHARACTERS // 2
    through_the_beginning = "x" * (half - place) + f" {hash_} " + "y" * 20_000
    through_the_end = "x" * 20_000 + f" {hash_} " + "y" * (half - place)
    for text in (through_the_beginning, through_the_end):
        logged = line(error=text)
        assert "sss" not in logged
        assert "hhh" not in logged
