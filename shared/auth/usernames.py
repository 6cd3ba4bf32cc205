"""The rule of usernames: letters of every script, and one account for all spellings of a name.

It follows the profile UsernameCaseMapped of PRECIS (RFC 8265, 3.3), with these differences:
compatibility forms are replaced (NFKC) where PRECIS forbids them, a name keeps its case where the
database can compare it so, and names of several directions are allowed.
"""

import re
import unicodedata

USERNAME_MAX_CHARACTERS = 150
# A letter and its marks, up to four characters, may be composed into one. A longer text is not a
# username and is not normalised, which takes quadratic time in the length of a run of marks. Unlike
# `shared.text.normalized`, a run is not limited otherwise: such names exist.
TYPED_MAX_CHARACTERS = 4 * USERNAME_MAX_CHARACTERS
ALLOWED = "Use only letters with their marks, digits and the characters @ . + - _"

ASCII = re.compile(r"[\w.@+-]+", re.ASCII)
ZWNJ, ZWJ = "\u200c", "\u200d"
# A consonant's sign that joins it to the next one has this canonical combining class.
VIRAMA = 9
# Invisible letters and marks (Default_Ignorable_Code_Point, UAX 44), of those in NFKC.
INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
# Arabic and Syriac letters that do not join the one that follows (Joining_Type R and U).
NOT_JOINING_ONWARD = re.compile(
    "[\u0621-\u0625\u0627\u0629\u062f-\u0632\u0648\u0671-\u0677\u0688-\u0699\u06c0\u06c3-\u06cb"
    "\u06cd\u06cf\u06d2\u06d3\u06d5\u06ee\u06ef\u0710\u0715-\u0719\u071e\u0728\u072a\u072c\u072f"
    "\u074d\u0759-\u075b\u076b\u076c\u0771\u0773\u0774\u0778\u0779]"
)


def in_nfkc(typed: str) -> str:
    """The same letters typed on two keyboards are the same name."""
    if len(typed) > TYPED_MAX_CHARACTERS:
        return typed
    return unicodedata.normalize("NFKC", typed)


def stored_form(typed: str) -> str:
    """The form in which the database finds all spellings of a name.

    The database compares by `lower()`, one character at a time. Where lower-casing needs more (a
    final sigma, a dotted capital I, a letter that is composed with its mark in one case only), the
    name is stored in lower case.
    """
    name = in_nfkc(typed)
    if name.isascii() or len(name) > TYPED_MAX_CHARACTERS:
        return name
    one_by_one = [character.lower() for character in name]
    lower = unicodedata.normalize("NFKC", name.lower())
    if "".join(one_by_one) == lower and all(len(one) == 1 for one in one_by_one):
        return name
    return lower


def username_problem(name: str) -> str | None:
    """Why a name in its stored form cannot be a username, as a sentence; None if it can."""
    if not 1 <= len(name) <= USERNAME_MAX_CHARACTERS:
        return f"Use 1 to {USERNAME_MAX_CHARACTERS} characters."
    if ASCII.fullmatch(name):
        return None
    if all(_may_stand(name, place) for place in range(len(name))):
        return None
    return ALLOWED


def _may_stand(name: str, place: int) -> bool:
    character = name[place]
    if character.isascii():
        return ASCII.fullmatch(character) is not None
    if INVISIBLE.match(character):
        return False
    if character in (ZWJ, ZWNJ):
        return _may_join(name, place)
    category = unicodedata.category(character)
    if category in ("Mn", "Mc"):
        return place > 0 and _bears_marks(name[place - 1])
    return category[0] in "LN"


def _bears_marks(character: str) -> bool:
    return unicodedata.category(character)[0] in "LNM" or character in (ZWJ, ZWNJ)


def _may_join(name: str, place: int) -> bool:
    """Joiners are allowed where a script needs them and they are visible (RFC 5892, A.1, A.2)."""
    before, after = name[:place], name[place + 1 :]
    if not before or not after or unicodedata.category(after[0])[0] != "L":
        return False
    if unicodedata.combining(before[-1]) == VIRAMA:
        return True
    if name[place] == ZWJ:
        return False
    joined = next((one for one in reversed(before) if unicodedata.category(one) != "Mn"), "")
    return (
        unicodedata.bidirectional(joined or "a") == "AL"
        and not NOT_JOINING_ONWARD.match(joined)
        and unicodedata.bidirectional(after[0]) == "AL"
    )
