"""The rule of passwords."""

import pytest

from gateway.accounts.password_rules import weaknesses


@pytest.mark.parametrize(
    "password", ["velvet-tram-42", "пароль-для-ани", "x7Kq2mZp", "   4 spaces"]
)
def test_a_password_that_nobody_would_guess_is_fit(password: str) -> None:
    assert weaknesses(password, "ana") == []


@pytest.mark.parametrize(
    ("password", "username", "reason"),
    [
        ("x7Kq2mZ", "ana", "at least 8"),
        ("8305720194", "ana", "more than digits"),
        ("٨٣٠٥٧٢٠١", "ana", "more than digits"),
        ("annabella", "annabella", "too much like"),
        ("AnnaBella1", "annabella", "too much like"),
        ("1annabell!", "annabella", "too much like"),
        ("PassWord123", "ana", "first that anyone"),
        ("q" * 1_025, "ana", "at most 1024 bytes"),
        ("é" * 513, "ana", "at most 1024 bytes"),
    ],
)
def test_a_weak_password_is_told_why(password: str, username: str, reason: str) -> None:
    assert any(reason in weakness for weakness in weaknesses(password, username))


def test_every_reason_is_told_at_once() -> None:
    assert len(weaknesses("1234", "1234")) == 3
