"""Text as clients may send it, as it is stored, and as it is searched."""

import re
import unicodedata
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field

# PostgreSQL stores no NUL; half a surrogate pair, which JSON can carry, has no UTF-8 at all.
NOT_STORABLE = re.compile("[\0\ud800-\udfff]")
# The same for a JSON schema, whose strings have no lone surrogates anyway.
NO_NUL = r"^[^\u0000]*$"

# Refused in every text: control characters, noncharacters, and the overrides that show what follows
# in another order than it has. Written for regular expressions of JSON Schema and of Python.
_CONTROLS = r"\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f"
_NOT_IN_TEXT = _CONTROLS + r"\u202d\u202e\ufdd0-\ufdef\ufffe\uffff"
# Refused in a line also: tab and line breaks.
_NOT_IN_LINE = r"\t\n\r\u2028\u2029" + _NOT_IN_TEXT
# Unicode's Default_Ignorable_Code_Point, as far as four hexadecimal digits go: shown as nothing.
_IGNORABLE = (
    r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8"
)
# What a word has not, besides white space.
NOT_IN_WORD: Final = _NOT_IN_LINE + _IGNORABLE
PLANES: Final = range(0x10000, 0x110000, 0x10000)
# The empty Braille pattern and what stands for a missing object are symbols, and yet blank.
_BLANK = _IGNORABLE + r"\u2800\ufffc"

# The last two characters of each plane beyond the first one are noncharacters also.
_FURTHER = "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in PLANES)
NOT_IN_TEXT = re.compile(f"[{_NOT_IN_TEXT}{_FURTHER}]")
NOT_IN_LINE = re.compile(f"[{_NOT_IN_LINE}{_FURTHER}]")
BLANK = re.compile(f"[{_BLANK}\U0001d159\U000e0000-\U000e0fff]")
IGNORABLE = re.compile(f"[{_IGNORABLE}\U000e0000-\U000e0fff]")
# As much of the rules below as a pattern can say: it knows no categories.
TEXT_PATTERN: Final = f"^[^{_NOT_IN_TEXT}]*$"
LINE_PATTERN: Final = rf"^[^{_NOT_IN_LINE}]*[^\s{_NOT_IN_LINE}{_BLANK}][^{_NOT_IN_LINE}]*$"

DOTTED_I = re.compile("i\u0307+")

# Letters, numbers, punctuation and symbols; a mark alone, or a space, is nothing to read.
VISIBLE_CATEGORIES: Final = frozenset("LNPS")
# Embeddings and isolates (UAX #9) and what closes them; left open, they reorder what is shown next.
BIDI = re.compile("[\u202a-\u202c\u2066-\u2069]")
BIDI_CLOSED_BY: Final = {
    **dict.fromkeys("\u202a\u202b", "\u202c"),
    **dict.fromkeys("\u2066\u2067\u2068", "\u2069"),
}
# The limit of UAX #15, 13 (Stream-Safe Text). Normalizing sorts such a run in quadratic time: of
# 65 kB it takes a second.
COMBINING_MAX: Final = 30
# These combine only once they are decomposed (UAX #15, "non-starter decompositions").
COMBINING_WHEN_DECOMPOSED: Final = frozenset("\u0f73\u0f75\u0f81\uff9e\uff9f")


def _storable(value: object) -> object:
    if isinstance(value, str) and NOT_STORABLE.search(value):
        raise ValueError("Null characters and lone surrogates are not allowed.")
    return value


def _in_nfc(value: object) -> object:
    return normalized(value) if isinstance(value, str) else value


# For a text with limits of its own, which are checked after it and have messages of their own.
Storable: Final = BeforeValidator(_storable)
StorableText = Annotated[str, Storable, Field(json_schema_extra={"pattern": NO_NUL})]
# The same letters are the same text on every keyboard.
InNfc: Final = BeforeValidator(_in_nfc)


def normalized(text: str, form: Literal["NFC", "NFKC"] = "NFC") -> str:
    """The text in a normal form, in linear time.

    Raises:
        ValueError: it has more combining marks in a row than any language needs.
    """
    if text.isascii():
        return text
    run = 0
    for character in text:
        combines = unicodedata.combining(character) or character in COMBINING_WHEN_DECOMPOSED
        run = run + 1 if combines else 0
        if run > COMBINING_MAX:
            raise ValueError(f"Must not have more than {COMBINING_MAX} combining marks in a row.")
    return unicodedata.normalize(form, text)


def folded(text: str) -> str:
    """The text as it is compared in a search, by Unicode's NFKC_Casefold.

    Σ, σ and ς are the same, as are ß and ss, full-width and plain letters; what is not shown counts
    for nothing. An i with a dot above it, as Unicode folds İ for all languages but Turkish, is i.

    Raises:
        ValueError: as `normalized`.
    """
    plain = IGNORABLE.sub("", normalized(text, "NFKC")).casefold()
    return normalized(DOTTED_I.sub("i", normalized(plain, "NFKC").casefold()), "NFKC")


def searchable(*texts: str) -> str | None:
    """What is searched for the words of these texts; None for texts that are not accepted now."""
    try:
        return folded("\n".join(texts))
    except ValueError:
        return None


def readable_line(text: str) -> str:
    """A title or name: one line, with something to read in it.

    Raises:
        ValueError: says what is wrong.
    """
    if NOT_IN_LINE.search(text):
        raise ValueError("Must be one line without control characters.")
    return _readable(text)


def readable_text(text: str) -> str:
    """A text of several lines: empty, or with something to read in it.

    Raises:
        ValueError: says what is wrong.
    """
    if NOT_IN_TEXT.search(text):
        raise ValueError("Must not have control characters other than tabs and line breaks.")
    return _readable(text) if text else text


def _readable(text: str) -> str:
    if not any(unicodedata.category(shown)[0] in VISIBLE_CATEGORIES for shown in _shown(text)):
        raise ValueError("Must have a letter, digit, punctuation mark or symbol in it.")
    if not _closes_bidi(text):
        raise ValueError("Must close the bidirectional embeddings and isolates that it opens.")
    return text


def _shown(text: str) -> Iterator[str]:
    return (character for character in text if not BLANK.match(character))


def _closes_bidi(text: str) -> bool:
    to_close: list[str] = []
    for control in BIDI.findall(text):
        if control in BIDI_CLOSED_BY:
            to_close.append(BIDI_CLOSED_BY[control])
        elif not to_close or to_close.pop() != control:
            return False
    return not to_close
