"""Texts that people read, and how they are searched."""

import re
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.text import (
    LINE_PATTERN,
    TEXT_PATTERN,
    folded,
    normalized,
    readable_line,
    readable_text,
)

BODY_MAX = 65_536


@pytest.mark.parametrize(
    "title",
    [
        *(
            "Open-air concert",
            "ΟΔΥΣΣΕΑΣ",
            "अनिता",
            "ประยุทธ์",
            "東京",
            "!!!",
            "5",
            "🎸",
            "👩‍👩‍👧",
            "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
        ),
        *("€", "נועה \u200f!", "می‌خواهم", "a\u00a0b", "\u2068ABC\u2069 x", "\u202bABC\u202c"),
    ],
)
def test_a_title_has_something_to_read(title: str) -> None:
    assert readable_line(title) == title
    assert readable_text(title) == title
    assert re.search(LINE_PATTERN, title)
    assert re.search(TEXT_PATTERN, title)


@pytest.mark.parametrize(
    "text",
    [
        *("\u200b", "\x1b", "\u2060\ufeff", "\u00ad", "\u3164", "\uffa0\u115f", "\u2800", "\ufffc"),
        *("\u0301", "\ue000", "\u0378", "\u00a0\u3000", "\ufe0f\u200d", "\U000e0041", "\U0001d159"),
        *("a\x1b[2Jb", "a\x07", "a\x7f", "a\x85", "a\u202eb", "\u202da", "a\ufffe", "a\ufdd0"),
        *("a\U0001fffe", "a\U000fffff", "a\U0010ffff"),
        *("a\u2066b", "a\u202ab", "a\u2069", "a\u202c", "\u2066a\u202c\u2069"),
    ],
    ids=ascii,
)
def test_what_shows_nothing_or_changes_what_is_around_it_is_refused(text: str) -> None:
    for rule in (readable_line, readable_text):
        with pytest.raises(ValueError, match="Must"):
            rule(text)


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\t", "\u2028"])
def test_only_a_text_has_several_lines(line_break: str) -> None:
    text = f"Doors open at 18:00.{line_break}Bring a coat."
    assert readable_text(text) == text
    with pytest.raises(ValueError, match="one line"):
        readable_line(text)


def test_a_text_may_be_empty() -> None:
    assert readable_text("") == ""


@given(st.text(max_size=20))
def test_what_is_accepted_fits_the_documented_pattern(text: str) -> None:
    for rule, pattern in ((readable_line, LINE_PATTERN), (readable_text, TEXT_PATTERN)):
        try:
            rule(text)
        except ValueError:
            continue
        assert re.fullmatch(pattern.removesuffix("$"), text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ΟΔΥΣΣΕΑΣ", "οδυσσεας"),
        ("Straße", "STRASSE"),
        ("\u1e9e", "ss"),
        ("é", "E\u0301"),
        ("İ", "i\u0307"),
        ("İSTANBUL", "istanbul"),
        ("ＡＢＣ", "abc"),
        ("ﬃ", "FFI"),
        ("ᾳ", "ΑΙ"),
        ("եւ", "և"),
        ("Kon\u00adzert", "konzert"),
        ("x\u200by", "xy"),
    ],
)
def test_the_same_words_are_the_same_when_folded(one: str, other: str) -> None:
    assert folded(one) == folded(other)


def test_different_words_stay_different() -> None:
    assert len({folded(word) for word in ("I", "ı", "é", "e", "ß", "s")}) == 6


@given(st.text(max_size=50))
def test_folding_again_changes_nothing(text: str) -> None:
    assert folded(folded(text)) == folded(text)


@pytest.mark.parametrize(
    "marks", ["\u0315\u0300", "\u0345" * 50 + "\u0334" * 50, "\u0f73", "\uff9e\u0301"], ids=ascii
)
def test_a_long_run_of_combining_marks_is_refused_before_it_costs(marks: str) -> None:
    text = "a" + marks * (BODY_MAX // len(marks))
    began = time.thread_time()
    for prepare in (normalized, folded):
        with pytest.raises(ValueError, match="combining marks"):
            prepare(text)
    assert time.thread_time() - began < 0.2


@pytest.mark.parametrize("filler", ["é", "e\u0301", "\ufdfa", "가", "\u202e", "\u2066", "ß"])
def test_every_rule_is_linear_in_a_long_text(filler: str) -> None:
    text = filler * (BODY_MAX // len(filler.encode()))
    began = time.thread_time()
    for rule in (normalized, folded, readable_line, readable_text):
        with suppress(ValueError):
            rule(text)
    assert time.thread_time() - began < 1
