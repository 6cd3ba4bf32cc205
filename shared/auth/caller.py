"""Whose request it is, and what it may do, whatever it came with: a token or an API key."""

from enum import StrEnum
from typing import Final

import msgspec

from shared.errors import OutOfScope

# Of every API key; no token begins so.
KEY_PREFIX: Final = "evk_"


class KeyScope(StrEnum):
    """What an API key may be allowed to do."""

    READ = "read"
    PURCHASE = "purchase"
    PAYMENTS = "payments"
    MANAGE = "manage"


class Caller(msgspec.Struct, frozen=True):
    """A user, by a token or an API key. `scopes`: of the key; None: a token, which may do all."""

    user_id: int
    key_id: int | None = None
    scopes: frozenset[KeyScope] | None = None

    def require(self, scope: KeyScope | None) -> None:
        """Refuse what a key is not allowed to do; None: what no key is allowed to do.

        Raises:
            OutOfScope
        """
        if self.scopes is None or scope in self.scopes:
            return
        if scope is None:
            raise OutOfScope("An API key cannot do this; sign in as its owner.")
        raise OutOfScope(f"This API key does not have the scope `{scope.value}`.")
