"""The rule of passwords that are too easy to guess."""

from collections import defaultdict

MIN_CHARACTERS = 8
# Argon2id reads any length; a limit keeps one request from hashing a megabyte.
MAX_BYTES = 1_024
# A similarity (0 to 1) at which the name is enough to guess the password.
TOO_LIKE = 0.7
# The commonest passwords that the other rules allow, in lower case.
COMMON_WORDS = """
password password1 password12 password123 password1234 password! passw0rd p@ssw0rd p@ssword
qwertyui qwertyuiop qwerty12 qwerty123 qwerty1234 1q2w3e4r 1q2w3e4r5t 1qaz2wsx qazwsxedc
zaq12wsx q1w2e3r4 asdfghjk asdfghjkl asdf1234 zxcvbnm1 1234qwer 123qweasd abcd1234 abcdefgh
abc12345 a1b2c3d4 aa123456 a1234567 a12345678 iloveyou iloveyou1 sunshine princess football
baseball superman starwars whatever computer internet michelle jennifer trustno1 welcome1
welcome123 letmein1 letmein123 changeme changeme1 changeme123 admin123 admin1234 administrator
dragon123 monkey123 master123 charlie1 liverpool samsung1 pokemon1 butterfly chocolate
test1234 testtest default1 secret123 user1234 football1 blink182 mustang1
"""
COMMON = frozenset(COMMON_WORDS.split())


def weaknesses(password: str, username: str) -> list[str]:
    """Every error of the password, as sentences for its owner.

    Each rule takes linear time: the text is a stranger's.
    """
    folded, name = password.casefold(), username.casefold()
    found = []
    if len(password) < MIN_CHARACTERS:
        found.append(f"Use at least {MIN_CHARACTERS} characters.")
    if len(password.encode()) > MAX_BYTES:
        found.append(f"Use at most {MAX_BYTES} bytes.")
    elif _likeness(folded, name) >= TOO_LIKE:
        found.append("This password is too much like the username.")
    if password.isnumeric():
        found.append("Use more than digits.")
    if folded in COMMON:
        found.append("This password is among the first that anyone would guess.")
    return found


def _likeness(one: str, other: str) -> float:
    """The share of characters that two texts have in common in the same order, from 0 to 1."""
    total = len(one) + len(other)
    if not total or 2 * min(len(one), len(other)) < TOO_LIKE * total:
        return 0.0  # of such different lengths they cannot be similar enough
    return 2 * _longest_common_subsequence(one, other) / total


def _longest_common_subsequence(one: str, other: str) -> int:
    """Its length, by one addition of big integers for each character of `other`.

    Hyyrö, "Bit-parallel LCS-length computation revisited" (2004): a bit of `row` is 0 where the
    subsequence grows. With 450 bits (150 characters, casefolded) a step takes 0.2 us.
    """
    places: defaultdict[str, int] = defaultdict(int)
    for place, character in enumerate(one):
        places[character] |= 1 << place
    row = everywhere = (1 << len(one)) - 1
    for character in other:
        matched = row & places.get(character, 0)
        row = ((row + matched) | (row - matched)) & everywhere
    return len(one) - row.bit_count()
