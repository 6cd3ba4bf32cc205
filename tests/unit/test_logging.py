"""A line of the log: JSON, and nothing secret in it."""

import json
import logging
from typing import Any

import pytest

from shared.logging import REDACTED, JsonWithoutSecrets
from shared.settings import Settings

PASSWORD = 'p@ss"w0rd/of us'
SETTINGS = Settings(
    database_url="postgresql://eventify:p%40ss%22w0rd%2Fof%20us@db/eventify",
    redis_url="redis://:opensesame@cache:6379/0",
)
TOKEN = "eyJhbGciOiJSUzI1NiIs.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


def line(**fields: Any) -> str:
    return JsonWithoutSecrets(SETTINGS)(logging.getLogger(), "info", {"event": "tried", **fields})


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"Bearer {TOKEN} of mira", f"Bearer {REDACTED} of mira"),
        (
            "row (1, mira, $argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA)",
            f"row (1, mira, {REDACTED})",
        ),
        (f'FATAL: password "{PASSWORD}" is wrong', f'FATAL: password "{REDACTED}" is wrong'),
        ("no route to p%40ss%22w0rd%2Fof%20us", f"no route to {REDACTED}"),
        ("redis says opensesame", f"redis says {REDACTED}"),
        ("to amqp://guest:hop@rabbit:5672//", f"to amqp://{REDACTED}@rabbit:5672//"),
        (
            "a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nb",
            f"a\n{REDACTED}\nb",
        ),
        (
            "eventify listens at http://127.0.0.1:8000/api/",
            "eventify listens at http://127.0.0.1:8000/api/",
        ),
    ],
)
def test_what_is_secret_is_taken_out_and_the_rest_stays(text: str, left: str) -> None:
    assert json.loads(line(error=text, nested=[text])) == {
        "event": "tried",
        "error": left,
        "nested": [left],
    }
