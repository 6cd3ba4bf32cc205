"""Every error of this package as one tree; one of the API has the class of its `code`.

EventifyError
├── NoResponse            the connection was lost, or the response could not be read
├── DeadlineExceeded      the outcome is not known in time: call again with the same key
├── KeyMismatch           the stored key is of another request
├── InvalidSignature      the delivery of a webhook is not genuine: answer it with 401
└── APIError              `not_enough_tickets` is NotEnoughTickets; docs/api.md explains each code
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar

import httpx2

from eventify_client.models import Shortage, decode_all

LONGEST_SECONDS = 1e9  # that every clock can sleep


class EventifyError(Exception):
    """The root. `retry_after`: seconds, where the server has said so."""

    retry_after: float | None = None


class NoResponse(EventifyError):
    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


# fmt: off
class DeadlineExceeded(EventifyError, TimeoutError): ...
class KeyMismatch(EventifyError, ValueError): ...
class InvalidSignature(EventifyError, ValueError): ...
# fmt: on


class APIError(EventifyError):
    """An error response.

    `code` is for programs and `detail` for people, `errors` has the messages for each field, and
    `body` all of it. If `purchase_id` is set, the purchase was rejected: this is final under its
    key. `short` names the lines for which too few tickets were left.
    """

    of_code: ClassVar[dict[str, type["APIError"]]] = {}

    of_status: ClassVar[dict[int, type["APIError"]]] = {}  # of a code that only a later server has

    def __init_subclass__(cls, of: tuple[int, ...] = ()) -> None:
        cls.of_status |= dict.fromkeys(of, cls)
        cls.of_code[re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()] = cls

    def __init__(
        self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> None:
        headers = headers or {}
        self.status = status
        self.body = body
        self.code = str(body.get("code") or "")
        self.detail: str = body.get("detail") or ""
        self.errors: Mapping[str, Sequence[str]] = body.get("errors") or {}
        # Other ids are a proxy's: of a page that blocks, for example.
        self.purchase_id: str | None = body.get("id") if status == 400 and self.code else None
        self.short = decode_all(Shortage, body.get("short") or ())
        self.request_id = headers.get("X-Request-ID")
        self.retry_after = seconds_of(headers)
        fields = "".join(f"; {name}: {' '.join(texts)}" for name, texts in self.errors.items())
        super().__init__(f"{status} {self.code}: {self.detail}{fields} ({self.request_id})")

    def __reduce__(self) -> tuple[Any, ...]:  # to other processes
        return _again, (type(self), self.args, self.__dict__)


# fmt: off
class BadRequest(APIError, of=(400,)): ...
class Invalid(BadRequest): ...
class MalformedBody(Invalid): ...
class UrlNotAllowed(Invalid): ...
class PurchaseRefused(BadRequest): ...  # the request is right, but the sale refuses it
class NotEnoughTickets(PurchaseRefused): ...
class AllHeld(PurchaseRefused): ...
class OverUserLimit(PurchaseRefused): ...
class SaleNotOpen(PurchaseRefused): ...
class SaleClosed(PurchaseRefused): ...
class SalePaused(PurchaseRefused): ...
class NotAuthenticated(APIError, of=(401,)): ...
class InvalidCredentials(NotAuthenticated): ...
class TokenExpired(NotAuthenticated): ...
class TokenMalformed(NotAuthenticated): ...
class TokenNotValid(NotAuthenticated): ...
class PermissionDenied(APIError, of=(403,)): ...
class AccountLocked(PermissionDenied): ...
class RegistrationClosed(PermissionDenied): ...
class OutOfScope(PermissionDenied): ...
class NotYourEvent(PermissionDenied): ...
class CrossSiteRequest(PermissionDenied): ...
class NotFound(APIError, of=(404,)): ...
class MethodNotAllowed(APIError, of=(405,)): ...
class BodyTooSlow(APIError, of=(408,)): ...
class Conflict(APIError, of=(409,)): ...
class NotDecided(Conflict): ...
class NotHeld(Conflict): ...
class NotConfirmed(Conflict): ...
class HoldExpired(Conflict): ...
class HoldReleased(Conflict): ...
class AlreadyConfirmed(Conflict): ...
class AlreadyCancelled(Conflict): ...
class PaymentReferenceUsed(Conflict): ...
class ExtensionLimit(Conflict): ...
class PreconditionFailed(APIError, of=(412,)): ...
class BodyTooLarge(APIError, of=(413,)): ...
class UnsupportedContentEncoding(APIError, of=(415,)): ...
class IdempotencyKeyReused(APIError): ...
class PreconditionRequired(APIError, of=(428,)): ...
class TooManyRequests(APIError, of=(429,)): ...
class TooManyExpiredHolds(TooManyRequests): ...
class ServerError(APIError, of=(500,)): ...
class Unavailable(ServerError, of=(502, 503, 504)): ...
# fmt: on


class EpochChanged(Conflict):
    """The database was restored: the numbers that you have may be those of other entries now.

    Read the feed again without a position, and compare the `command` of each entry with those that
    you stored: the restore lost the missing ones. `body["epoch"]` is the new epoch.
    """


def error_of(response: httpx2.Response) -> APIError | None:
    """None: it is a success. A redirect is none: with a token, it is not followed."""
    status = response.status_code
    if status < 300:
        return None
    try:
        return api_error(status, response.json(), response.headers)
    except (ValueError, TypeError, AttributeError, RecursionError):  # a proxy's page
        return api_error(status, {"detail": response.reason_phrase}, response.headers)


def api_error(
    status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> APIError:
    kind = APIError.of_code.get(str(body.get("code")), APIError.of_status.get(status, APIError))
    return kind(status, body, headers)


def _again(kind: type[APIError], args: tuple[Any, ...], state: dict[str, Any]) -> APIError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


def seconds_of(headers: Mapping[str, str]) -> float | None:
    """Of `Retry-After`; a date counts from the server's own time, if that is there."""
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return min(float(value), LONGEST_SECONDS)
    until, now = _moment(value), _moment(headers.get("Date", "")) or datetime.now(UTC)
    if until is None:
        return None
    return min(max(0.0, (until - now).total_seconds()), LONGEST_SECONDS)


def _moment(value: str) -> datetime | None:
    try:
        return parsedate_to_datetime(value).replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
