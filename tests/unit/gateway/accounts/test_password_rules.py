"""The rule of passwords."""

import time
from difflib import SequenceMatcher

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        ("anna-bella", "annabella", "too much like"),
        ("ann4bell4", "annabella", "too much like"),
        ("Ангелина1", "ангелина", "too much like"),
        ("a" * 180, "a" * 150, "too much like"),
        ("PassWord123", "ana", "first that anyone"),
        ("q" * 1_025, "ana", "at most 1024 bytes"),
        ("é" * 513, "ana", "at most 1024 bytes"),
    ],
)
def test_a_weak_password_is_reported_why(password: str, username: str, reason: str) -> None:
    assert any(reason in weakness for weakness in weaknesses(password, username))


def test_every_reason_is_reported_at_once() -> None:
    assert len(weaknesses("1234", "1234")) == 3


def test_nothing_is_too_short_whatever_the_name() -> None:
    assert weaknesses("", "") == weaknesses("", "ana") == ["Use at least 8 characters."]


@given(st.text("abcd", min_size=1, max_size=30), st.text("abcd", min_size=1, max_size=30))
def test_no_password_is_more_like_the_name_than_the_standard_library_allows(
    password: str, username: str
) -> None:
    """Its ratio counts a common subsequence, if not always the longest: this rule is stricter."""
    if SequenceMatcher(None, password, username, autojunk=False).ratio() >= 0.7:
        assert "This password is too much like the username." in weaknesses(password, username)


CYCLE = "".join("a" + chr(98 + number % 20) for number in range(512))


@pytest.mark.parametrize(
    ("password", "username"),
    [
        ("".join("a" + chr(98 + number % 20) for number in range(256)), "a" * 150),
        (CYCLE[:1_024], "a" * 150),
        (CYCLE[:270], CYCLE[1:151]),
        ("ab" * 130, "ba" * 75),
        ("ΐ" * 512, "ΐ" * 150),  # three characters each, when case is folded
        ("a" * 1_024, "a" * 150),
        ("a" * 1_024, ""),
        ("7" * 1_024, "7" * 150),
    ],
)
def test_no_password_takes_the_rules_long(password: str, username: str) -> None:
    weaknesses(password, username)
    began = time.thread_time()
    weaknesses(password, username)
    assert time.thread_time() - began < 0.005
