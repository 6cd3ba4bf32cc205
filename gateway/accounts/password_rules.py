"""The rule of passwords: which ones are too easy to guess."""

from difflib import SequenceMatcher

MIN_CHARACTERS = 8
# Argon2id reads any length; a limit keeps one request from hashing a megabyte.
MAX_BYTES = 1_024
# From this likeness on (0 to 1), who knows the name will soon guess the password.
TOO_LIKE = 0.7
# What guessers try first, of those that the other rules let through. All in lower case.
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
    """Every reason to refuse the password, as sentences for its owner; none if it is fit."""
    folded, name = password.casefold(), username.casefold()
    found = []
    if len(password) < MIN_CHARACTERS:
        found.append(f"Use at least {MIN_CHARACTERS} characters.")
    if len(password.encode()) > MAX_BYTES:
        found.append(f"Use at most {MAX_BYTES} bytes.")
    elif SequenceMatcher(None, folded, name).ratio() >= TOO_LIKE:
        found.append("This password is too much like the username.")
    if password.isnumeric():
        found.append("Use more than digits.")
    if folded in COMMON:
        found.append("This password is among the first that anyone would guess.")
    return found
