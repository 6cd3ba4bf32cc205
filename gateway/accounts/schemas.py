"""The bodies of accounts and tokens, as clients send and read them."""

import re
import unicodedata
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from gateway.accounts.password_rules import MAX_BYTES, weaknesses

USERNAME_MAX_CHARACTERS = 150
USERNAME = re.compile(r"[\w.@+-]+")
# Only the form is checked: whether an address exists is known to its mail server alone.
EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
EMAIL_MAX_CHARACTERS = 254  # RFC 5321: a path of 256 with its angle brackets


def _storable(text: str) -> str:
    # PostgreSQL stores no NUL; half a surrogate pair, which JSON can carry, has no UTF-8 at all.
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("Null characters and lone surrogates are not allowed.")
    return text


def _one_spelling(username: str) -> str:
    # The same letters typed on two keyboards are the same name (as in Django: NFKC).
    return unicodedata.normalize("NFKC", username)


def _username(username: str) -> str:
    if not 1 <= len(username) <= USERNAME_MAX_CHARACTERS:
        raise ValueError(f"Use 1 to {USERNAME_MAX_CHARACTERS} characters.")
    if not USERNAME.fullmatch(username):
        raise ValueError("Use only letters, digits and the characters @ . + - _")
    return username


def _email(email: str) -> str:
    if email and (len(email) > EMAIL_MAX_CHARACTERS or not EMAIL.fullmatch(email)):
        raise ValueError("Enter an e-mail address such as ana@example.com.")
    return email


def _hashable(password: str) -> str:
    if len(password.encode()) > MAX_BYTES:
        raise ValueError(f"Use at most {MAX_BYTES} bytes.")
    return password


Text = Annotated[str, AfterValidator(_storable)]


class NewUser(BaseModel):
    """Who wants an account."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"username": "ana", "password": "velvet-tram-42", "email": "ana@x.org"}]
        }
    )

    username: Annotated[Text, AfterValidator(_one_spelling), AfterValidator(_username)] = Field(
        description="1-150 letters, digits and @ . + - _; unique, whatever the case."
    )
    password: Text = Field(
        description="At least 8 characters, not only digits, not like the username, not common."
    )
    email: Annotated[Text, AfterValidator(_email)] | None = Field(
        default=None, description="Optional; only its form is checked."
    )

    @field_validator("password")
    @classmethod
    def _strong(cls, password: str, info: ValidationInfo) -> str:
        found = weaknesses(password, info.data.get("username", ""))
        if found:
            raise ValueError(" ".join(found))
        return password


class User(BaseModel):
    """An account, as its owner reads it."""

    id: int = Field(examples=[7])
    username: str = Field(examples=["ana"])
    email: str | None = Field(examples=["ana@x.org"])
    created_at: datetime


class Credentials(BaseModel):
    """Name and password."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"username": "ana", "password": "velvet-tram-42"}]}
    )

    username: Annotated[Text, AfterValidator(_one_spelling)]
    password: Annotated[Text, AfterValidator(_hashable)]


class TokenPair(BaseModel):
    """`access` opens every route until it expires; `refresh` gets the next pair, once."""

    access: str = Field(examples=["eyJhbGciOiJSUzI1NiIs..."])
    refresh: str = Field(examples=["eyJhbGciOiJSUzI1NiIs..."])


class Refresh(BaseModel):
    """A refresh token."""

    refresh: Text = Field(examples=["eyJhbGciOiJSUzI1NiIs..."])


class Token(BaseModel):
    """A token of either type."""

    token: Text = Field(examples=["eyJhbGciOiJSUzI1NiIs..."])


class Nothing(BaseModel):
    """`{}`: it is done, or it holds."""


class JsonWebKey(BaseModel):
    """A public key (RFC 7517)."""

    kty: str = Field(examples=["RSA"])
    use: str = Field(examples=["sig"])
    alg: str = Field(examples=["RS256"])
    kid: str
    n: str
    e: str = Field(examples=["AQAB"])


class JsonWebKeySet(BaseModel):
    """Every public key that verifies tokens."""

    keys: list[JsonWebKey]
