"""Requests as bytes, joined from parts that were made beforehand."""

from collections.abc import Iterator
from itertools import count, cycle, islice

import msgspec

from loadtests.selling import PURCHASES


class Load(msgspec.Struct, frozen=True):
    """Requests without end, or `requests_max`: the n-th has the n-th path, token and body, in turn.

    `tokens`: none for what everybody may read.
    `key_prefix`: each request has an Idempotency-Key of its own, which begins so.
    `expected`: statuses that are right; any other is an error.
    """

    method: str
    paths: list[str]
    tokens: list[str]
    bodies: list[bytes]
    expected: frozenset[int]
    key_prefix: str | None = None
    prefer_wait_seconds: int = 0
    requests_max: int | None = None
    if_none_match: str | None = None

    def requests(self) -> Iterator[bytes]:
        starts = [f"{self.method} {p} HTTP/1.1\r\nHost: 127.0.0.1\r\n".encode() for p in self.paths]
        tokens = [f"Authorization: Bearer {token}\r\n".encode() for token in self.tokens] or [b""]
        lines = f"Prefer: wait={self.prefer_wait_seconds}\r\n" if self.prefer_wait_seconds else ""
        lines += f"If-None-Match: {self.if_none_match}\r\n" if self.if_none_match else ""
        ends = [f"{lines}{_about(body)}\r\n".encode() + body for body in self.bodies]
        parts = zip(cycle(starts), cycle(tokens), self._keys(), cycle(ends), strict=False)
        return islice(map(b"".join, parts), self.requests_max)

    def _keys(self) -> Iterator[bytes]:
        if self.key_prefix is None:
            return cycle([b""])
        start = f'Idempotency-Key: "{self.key_prefix}-'.encode()
        return (b'%b%d"\r\n' % (start, number) for number in count(1))


def _about(body: bytes) -> str:
    return f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""


def buying(
    ticket_types: list[int],
    tokens: list[str],
    *,
    expected: frozenset[int] = frozenset({202}),
    key_prefix: str | None = None,
    prefer_wait_seconds: int = 0,
    requests_max: int | None = None,
) -> Load:
    """Purchases of one ticket each, from each of these ticket types in turn."""
    return Load(
        method="POST",
        paths=[PURCHASES],
        tokens=tokens,
        bodies=[f'{{"ticket_type": {id_}, "quantity": 1}}'.encode() for id_ in ticket_types],
        expected=expected,
        key_prefix=key_prefix,
        prefer_wait_seconds=prefer_wait_seconds,
        requests_max=requests_max,
    )


def reading(
    paths: list[str], tokens: list[str], *, status: int = 200, if_none_match: str | None = None
) -> Load:
    """Readings of these paths in turn, each with the token at the same index."""
    return Load("GET", paths, tokens, [b""], frozenset({status}), if_none_match=if_none_match)
