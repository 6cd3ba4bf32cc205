"""The bodies of requests and responses of accounts and tokens."""

import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.json_schema import SkipJsonSchema

from gateway.accounts.password_rules import MAX_BYTES, MIN_CHARACTERS, weaknesses
from shared.auth.usernames import USERNAME_MAX_CHARACTERS, in_nfkc, stored_form, username_problem
from shared.row_ids import MAX_ID
from shared.text import NOT_IN_WORD, StorableText
from shared.web.strict_routes import RequestBody

# Only the form is checked: only the mail server knows whether an address exists.
# Control characters are named, for not every dialect of patterns counts the same ones as blank.
EMAIL_PATTERN = r"^{part}+@{label}+(\.{label}+)+$".format(
    part=rf"[^@\s{NOT_IN_WORD}]", label=rf"[^@\s{NOT_IN_WORD}.]"
)
EMAIL = re.compile(EMAIL_PATTERN)
EMAIL_MAX_CHARACTERS = 254  # RFC 5321: a path of 256 with its angle brackets


def _username(username: str) -> str:
    problem = username_problem(username)
    if problem is not None:
        raise ValueError(problem)
    return username


def _email(email: str) -> str:
    if email and (len(email) > EMAIL_MAX_CHARACTERS or not EMAIL.fullmatch(email)):
        raise ValueError("Enter an e-mail address such as ana@example.com.")
    return email


def _hashable(password: str) -> str:
    if len(password.encode()) > MAX_BYTES:
        raise ValueError(f"Use at most {MAX_BYTES} bytes.")
    return password


Username = Annotated[StorableText, AfterValidator(stored_form), AfterValidator(_username)]
TypedPassword = Annotated[
    StorableText, AfterValidator(_hashable), Field(json_schema_extra={"maxLength": MAX_BYTES})
]
PASSWORD_RULES = "At least 8 characters, not only digits, not like the username, not common."
Email = Annotated[
    StorableText,
    AfterValidator(_email),
    Field(
        json_schema_extra={
            "pattern": f"^$|{EMAIL_PATTERN}",
            "maxLength": EMAIL_MAX_CHARACTERS,
        }
    ),
]
TOKEN_EXAMPLE = "eyJhbGciOiJSUzI1NiIs..."


def _with_example(**example: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


class AccountCreate(RequestBody):
    """A registration."""

    model_config = _with_example(username="ana", password="velvet-tram-42", email="ana@x.org")

    username: Username = Field(
        description="1-150 letters of any script with their marks, digits and @ . + - _; "
        "unique, whatever the case and the Unicode form.",
        json_schema_extra={
            "minLength": 1,
            "maxLength": USERNAME_MAX_CHARACTERS,
            # No pattern for letters beyond ASCII is portable.
            "pattern": r"^([A-Za-z0-9_.@+-]|[^\x00-\x7f])+$",
        },
    )
    password: StorableText = Field(
        description=PASSWORD_RULES,
        json_schema_extra={"minLength": MIN_CHARACTERS, "maxLength": MAX_BYTES},
    )
    email: Email | None = Field(default=None, description="Optional; only its form is checked.")

    @field_validator("password")
    @classmethod
    def _strong(cls, password: str, info: ValidationInfo) -> str:
        found = weaknesses(password, info.data.get("username", ""))
        if found:
            raise ValueError(" ".join(found))
        return password


class Account(BaseModel):
    """An account."""

    model_config = _with_example(
        id=7, username="ana", email="ana@x.org", created_at="2026-11-22T12:00:00.000000Z"
    )

    id: int = Field(ge=1, le=MAX_ID)
    username: str
    email: str | None
    created_at: datetime


class TokenCreate(RequestBody):
    """Username and password."""

    model_config = _with_example(username="ana", password="velvet-tram-42")

    username: Annotated[StorableText, AfterValidator(in_nfkc)]
    password: TypedPassword


class PasswordUpdate(RequestBody):
    """A change of password."""

    model_config = _with_example(current_password="velvet-tram-42", new_password="amber-tram-43")

    current_password: TypedPassword
    new_password: StorableText = Field(
        description=PASSWORD_RULES,
        json_schema_extra={"minLength": MIN_CHARACTERS, "maxLength": MAX_BYTES},
    )


class AccountUpdate(RequestBody):
    """A change of e-mail address."""

    model_config = _with_example(current_password="velvet-tram-42", email="ana@y.org")

    current_password: TypedPassword
    email: Email | None = Field(description='null or "": none. Only its form is checked.')


class AccountDelete(RequestBody):
    """The password, again."""

    model_config = _with_example(current_password="velvet-tram-42")

    current_password: TypedPassword


class TokenPair(BaseModel):
    """`access` opens every route until it expires; `refresh` gets the next pair, once."""

    model_config = _with_example(access=TOKEN_EXAMPLE, refresh=TOKEN_EXAMPLE)

    access: str
    refresh: str


class TokenRefresh(RequestBody):
    """A refresh token."""

    model_config = _with_example(refresh=TOKEN_EXAMPLE)

    refresh: StorableText
    # Ignored, so that a pair can be sent as it was received.
    access: SkipJsonSchema[object] = None


class TokenVerify(RequestBody):
    """A token of either type."""

    model_config = _with_example(token=TOKEN_EXAMPLE)

    token: StorableText


class Empty(BaseModel):
    """`{}`"""

    model_config = _with_example()


class JsonWebKey(BaseModel):
    """A public key (RFC 7517)."""

    kty: str
    use: str
    alg: str
    kid: str
    n: str
    e: str


class JsonWebKeySet(BaseModel):
    """Every public key that verifies tokens."""

    model_config = _with_example(
        keys=[
            {
                "kty": "RSA",
                "use": "sig",
                "alg": "RS256",
                "kid": "5d41402abc4b2a76",
                "n": "u1SU1LfVLPHCozMxH2Mo4lgOEePzNm0tRgeLezV6ffAt0gunVTLw7onLRnrq0_IzW7yWR7Q...",
                "e": "AQAB",
            }
        ]
    )

    keys: list[JsonWebKey]
