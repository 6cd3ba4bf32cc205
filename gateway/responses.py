"""Responses of the routes that are plain ASGI."""

from collections.abc import Awaitable, Iterable, Mapping
from functools import lru_cache

from starlette.types import Scope, Send

from shared.errors import Problem
from shared.web.asgi_extensions import send_whole
from shared.web.problem_details import PROBLEM_JSON, problem_body

Headers = list[tuple[bytes, bytes]]
JSON = (b"content-type", b"application/json")
# In a rush, nearly all responses have the same limits.
HEADERS_REMEMBERED = 1_000


async def send_problem(
    scope: Scope, send: Send, problem: Problem, extra: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    headers = [(b"content-type", PROBLEM_JSON.encode()), *extra, *encoded(problem.headers)]
    await send_body(scope, send, problem.status, headers, problem_body(problem, scope))


def encoded(headers: Mapping[str, str]) -> Headers:
    return [_encoded_header(name, value) for name, value in headers.items()]


@lru_cache(HEADERS_REMEMBERED)
def _encoded_header(name: str, value: str) -> tuple[bytes, bytes]:
    return name.lower().encode(), value.encode()


def send_body(
    scope: Scope, send: Send, status: int, headers: Headers, body: bytes
) -> Awaitable[None]:
    if status != 304:
        headers.append((b"content-length", b"%d" % len(body)))
    return send_whole(scope, send, status, headers, body)


def text_of(header: bytes | None) -> str | None:
    return header.decode("latin-1") if header is not None else None
