"""Hashes passwords with Argon2id, in few threads, so that many logins cannot starve purchases."""

from dataclasses import dataclass

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from shared.concurrency.bounded_executor import BoundedExecutor
from shared.config.settings import Settings
from shared.text import normalized

# OWASP's Password Storage Cheat Sheet: Argon2id with 19 MiB, two passes, one lane.
HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


@dataclass(frozen=True, slots=True)
class PasswordCheck:
    """Whether the password is right; and a new hash, if the stored one is of older parameters."""

    right: bool
    replacement: str | None = None


class Passwords:
    """Both calls raise Unavailable when too many wait. Addresses take turns."""

    def __init__(self, settings: Settings) -> None:
        self._executor = BoundedExecutor(
            "passwords",
            threads=settings.password_hash_threads,
            waiting_max=settings.password_hash_waiting_max,
        )
        # For an unknown user: the response must take as long as for a wrong password.
        self._placeholder_hash = HASHER.hash("of no user")

    async def hash(self, password: str, address: str) -> str:
        return await self._executor.run_for(address, HASHER.hash, prepared(password))

    async def check(self, stored_hash: str | None, password: str, address: str) -> PasswordCheck:
        """Compare with a stored hash; with None take the same time and find it wrong."""
        check = await self._executor.run_for(
            address,
            _check,
            self._placeholder_hash if stored_hash is None else stored_hash,
            password,
        )
        return PasswordCheck(right=False) if stored_hash is None else check

    def close(self) -> None:
        self._executor.close()


def prepared(password: str) -> str:
    """In normal form C (RFC 8265, 4.2.2): keyboards type the same letter differently."""
    try:
        return normalized(password)
    except ValueError:  # more combining marks in a row than any keyboard types
        return password


def _check(stored_hash: str, password: str) -> PasswordCheck:
    wanted = prepared(password)
    right = _is_right(stored_hash, wanted)
    if right and not HASHER.check_needs_rehash(stored_hash):
        return PasswordCheck(right=True)
    # Earlier versions hashed what was typed.
    if right or (wanted != password and _is_right(stored_hash, password)):
        return PasswordCheck(right=True, replacement=HASHER.hash(wanted))
    return PasswordCheck(right=False)


def _is_right(stored_hash: str, password: str) -> bool:
    try:
        return HASHER.verify(stored_hash, password)
    except (VerificationError, InvalidHashError):
        return False
