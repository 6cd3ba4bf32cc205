"""Accounts and refresh tokens as the contract describes them. Pure: time passes only by a call."""

from dataclasses import dataclass

from tests.deep.model.refusals import Refusal

# Passwords and addresses that the contract refuses, of those that the machine tries.
WEAK_PASSWORDS = {"short", "20261122", "password123"}
BAD_ADDRESSES = {"nobody"}


@dataclass(eq=False)
class Account:
    username: str
    password: str
    email: str | None
    id: int = 0


@dataclass(eq=False)
class Family:
    """All the refresh tokens that descend from one sign-in."""

    account: Account
    revoked: bool = False


@dataclass(eq=False)
class RefreshToken:
    """A refresh token with the access token that came with it."""

    family: Family
    successor: "RefreshToken | None" = None
    # Spent longer ago than a lost answer may be asked for again.
    spent_long_ago: bool = False
    access: str = ""
    refresh: str = ""

    @property
    def holds(self) -> bool:
        return self.successor is None and not self.family.revoked


class Accounts:
    """Every call may raise Refusal, and then has changed nothing but what it says."""

    def __init__(self) -> None:
        self._by_name: dict[str, Account] = {}
        self._tokens: list[RefreshToken] = []

    def register(self, username: str, password: str, email: str | None) -> Account:
        wrong = {
            "username": " " in username,
            "password": password in WEAK_PASSWORDS or password.lower() == username.lower(),
            "email": email in BAD_ADDRESSES,
        }
        if any(wrong.values()):
            raise Refusal("invalid", *(field for field in wrong if wrong[field]))
        if username.lower() in self._by_name:
            raise Refusal("invalid", "username")
        account = Account(username, password, email)
        self._by_name[username.lower()] = account
        return account

    def sign_in(self, username: str, password: str) -> RefreshToken:
        account = self._by_name.get(username.lower())
        if account is None or account.password != password:
            raise Refusal("invalid_credentials")
        return self._issue(Family(account))

    def refresh(self, token: RefreshToken) -> RefreshToken:
        """The token's successor, a new one or the same again; a theft revokes the family."""
        if token.family.revoked:
            raise Refusal("token_not_valid")
        if token.successor is None:
            token.successor = self._issue(token.family)
        elif token.spent_long_ago:
            token.family.revoked = True
            raise Refusal("token_not_valid")
        return token.successor

    def verify(self, token: RefreshToken) -> None:
        if not token.holds:
            raise Refusal("token_not_valid")

    def blacklist(self, token: RefreshToken) -> None:
        if token.family.revoked:
            raise Refusal("token_not_valid")
        token.family.revoked = True

    def let_the_retry_window_pass(self) -> None:
        for token in self._tokens:
            token.spent_long_ago = token.successor is not None

    def _issue(self, family: Family) -> RefreshToken:
        token = RefreshToken(family)
        self._tokens.append(token)
        return token
