"""Which values of an Idempotency-Key are one key, and which are none; what it stands for."""

from typing import Any

import pytest
from pydantic import BaseModel

from shared.errors import InvalidInput
from shared.web.idempotency_key import RequestKey, parse_idempotency_key


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("a", "a"),
        ('"a"', "a"),
        ('"a b, c;d=1"', "a b, c;d=1"),
        ("a b,c\\", "a b,c\\"),
        (r'"say \"a\", \\"', r'say "a", ' + "\\"),
        ('"' + r"\"" * 255 + '"', '"' * 255),
        ("x" * 255, "x" * 255),
        (None, None),
    ],
)
def test_a_key_may_stand_in_quotes(header: str | None, key: str | None) -> None:
    assert parse_idempotency_key(header) == key


@pytest.mark.parametrize(
    "header",
    [
        # Two lines that a proxy has joined.
        *('"a", "b"', '"a","a"', '"a", b', 'a, "b"'),
        *('"a', 'a"', 'a"b', '"a"b"', '""', '"', '"a"; p=1', 'W/"a"', r'"a\"', r'"a\b"'),
        *("", "é", "a\tb", "x" * 256, '"' + "x" * 256 + '"'),
    ],
)
def test_what_is_no_single_string_is_refused(header: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse_idempotency_key(header)
    assert list(refusal.value.errors or ()) == ["Idempotency-Key"]


class Body(BaseModel):
    name: str
    scopes: list[str] = []
    limit: int | None = None


def fingerprint(path: str, body: dict[str, Any] | None) -> bytes:
    keyed = RequestKey(7, path, "a").of(None if body is None else Body.model_validate(body))
    assert keyed is not None
    return keyed.fingerprint


def test_every_difference_of_path_and_body_gives_another_fingerprint() -> None:
    bodies: list[dict[str, Any] | None] = [
        *(None, {"name": "a"}, {"name": "b"}, {"name": "a", "limit": 1}),
        *({"name": "a", "scopes": ["x", "y"]}, {"name": "a", "scopes": ["y", "x"]}),
    ]
    all_of_them = {fingerprint(path, body) for path in ("/a/", "/b/") for body in bodies}
    assert len(all_of_them) == 2 * len(bodies)


def test_a_body_may_be_written_in_another_order() -> None:
    one, other = {"name": "a", "limit": 1}, {"limit": 1, "name": "a"}
    assert fingerprint("/a/", one) == fingerprint("/a/", other)


def test_a_field_that_a_later_version_adds_leaves_the_fingerprint_as_it_was() -> None:
    class Later(Body):
        added: int = 1

    keyed = RequestKey(7, "/a/", "a").of(Later(name="a"))
    assert keyed is not None
    assert keyed.fingerprint == fingerprint("/a/", {"name": "a"})


def test_without_a_key_nothing_is_keyed() -> None:
    assert RequestKey(7, "/a/", None).of() is None
