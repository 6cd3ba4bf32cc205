"""Checks of problem documents (RFC 9457)."""

from http import HTTPStatus
from typing import Any

import httpx


def check_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of an answer, which is complete and has this status and code."""
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    url = answer.request.url
    assert problem["type"] == str(url.copy_with(raw_path=b"/api/docs/errors/", fragment=code))
    assert problem["title"] == HTTPStatus(status).phrase
    assert problem["detail"]
    for messages in problem.get("errors", {}).values():
        assert messages
        assert all(isinstance(message, str) for message in messages)
    return problem


def check_invalid(answer: httpx.Response, *fields: str) -> None:
    """A validation error that names exactly these fields."""
    assert check_problem(answer, 400, "invalid")["errors"].keys() == set(fields), answer.text
