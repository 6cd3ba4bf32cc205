"""Every error that Eventify raises, as one tree; each API error has its HTTP status and code."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar, Final

# Some clients keep seconds in 32 bits.
RETRY_AFTER_MAX_SECONDS: Final = 86_400
# Of a field or header, in `errors`.
REQUIRED: Final = "This is required."


def retry_after(seconds: float) -> int:
    """The value of a `Retry-After` header: whole seconds, from one up to a day."""
    return max(1, math.ceil(min(seconds, RETRY_AFTER_MAX_SECONDS)))


class EventifyError(Exception):
    """The root of the tree."""


class ConfigurationError(EventifyError):
    """A setting, argument or server that the operator has to put right."""


class ClientLeft(EventifyError):
    """The client closed its connection before its request was complete, or while it waited."""


class Problem(EventifyError):
    """An error response, as problem details (RFC 9457).

    Args:
        detail: one sentence for a person; the class's own when not given.
        errors: for validation, the messages of each field.
        headers: more HTTP headers of the answer.
        extra: more members of the problem document, such as a purchase's `id`.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "server_error"
    default_detail: ClassVar[str] = "An internal error occurred."

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Mapping[str, Sequence[str]] | None = None,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        self.detail = detail or self.default_detail
        self.errors = errors
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})
        super().__init__(self.detail)


@contextmanager
def on_problem(*, add: Mapping[str, str]) -> Iterator[None]:
    """A problem in the block gets these headers, too."""
    try:
        yield
    except Problem as problem:
        problem.headers.update(add)
        raise


class InvalidInput(Problem):
    status = 400
    code = "invalid"
    default_detail = "Some fields are not valid."


class MalformedBody(InvalidInput):
    code = "malformed_body"
    default_detail = "The body is not valid JSON."


class UrlNotAllowed(InvalidInput):
    code = "url_not_allowed"
    default_detail = "A webhook may not have this URL."


class NotEnoughTickets(Problem):
    status = 400
    code = "not_enough_tickets"
    default_detail = "Not enough tickets available"


class AllHeld(Problem):
    status = 400
    code = "all_held"
    default_detail = "All tickets that are left are on hold; some may come back."


class OverUserLimit(Problem):
    status = 400
    code = "over_user_limit"
    default_detail = "The limit of tickets per user is exceeded."


class SaleNotOpen(Problem):
    status = 400
    code = "sale_not_open"
    default_detail = "The sale of this ticket type has not started."


class SaleClosed(Problem):
    status = 400
    code = "sale_closed"
    default_detail = "The sale of this ticket type has ended."


class SalePaused(Problem):
    """Not a 5xx: proxies and alerts would take it for an outage."""

    status = 400
    code = "sale_paused"
    default_detail = "The sale of this ticket type is paused."


class NotAuthenticated(Problem):
    """Without credentials, the challenge names no error (RFC 6750, 3.1)."""

    status = 401
    code = "not_authenticated"
    default_detail = (
        "An access token or an API key is required, as `Authorization: Bearer <token>`."
    )
    token_was_bad: ClassVar[bool] = False

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail)
        challenge = 'Bearer realm="eventify"'
        if self.token_was_bad:
            challenge += f', error="invalid_token", error_description="{self.detail}"'
        self.headers["WWW-Authenticate"] = challenge


class InvalidCredentials(NotAuthenticated):
    """The same for an unknown name and for a wrong password."""

    code = "invalid_credentials"
    default_detail = "No account has this username and password."


class TokenExpired(NotAuthenticated):
    """Only where the signature is right: of a forged token nothing is told."""

    code = "token_expired"
    default_detail = "The access token has expired; refresh it, or sign in again."
    token_was_bad = True


class TokenMalformed(NotAuthenticated):
    code = "token_malformed"
    default_detail = "This is neither a JSON Web Token nor an API key."
    token_was_bad = True


class TokenNotValid(NotAuthenticated):
    code = "token_not_valid"
    default_detail = "The token is not valid; sign in again."
    token_was_bad = True


class PermissionDenied(Problem):
    status = 403
    code = "permission_denied"
    default_detail = "Only the event's owner may do this."


class AccountLocked(Problem):
    status = 403
    code = "account_locked"
    default_detail = "This account is locked; ask the operator."


class RegistrationClosed(Problem):
    status = 403
    code = "registration_closed"
    default_detail = "Registration is closed."


class OutOfScope(Problem):
    status = 403
    code = "out_of_scope"
    default_detail = "This API key is not allowed to do this."


class NotYourEvent(Problem):
    status = 403
    code = "not_your_event"
    default_detail = "Only with a key of the event's owner may a purchase name its buyer."


class CrossSiteRequest(Problem):
    status = 403
    code = "cross_site_request"
    default_detail = "Cross-site requests are not allowed."


class NotFound(Problem):
    status = 404
    code = "not_found"
    default_detail = "Not found."


class MethodNotAllowed(Problem):
    status = 405
    code = "method_not_allowed"
    default_detail = "Method not allowed."


class BodyTooSlow(Problem):
    status = 408
    code = "body_too_slow"
    default_detail = "The body was not received in time."

    def __init__(self) -> None:
        # RFC 9110, 15.5.9: we will not wait for the rest on this connection.
        super().__init__(headers={"Connection": "close"})


class Conflict(Problem):
    status = 409
    code = "conflict"
    default_detail = "The request conflicts with the current state."


class NotDecided(Conflict):
    code = "not_decided"
    default_detail = "The purchase is not decided yet; retry."


class NotHeld(Conflict):
    code = "not_held"
    default_detail = "The purchase was never held, or was rejected."


class NotConfirmed(Conflict):
    code = "not_confirmed"
    default_detail = "The purchase is not confirmed."


class HoldExpired(Conflict):
    code = "hold_expired"
    default_detail = "The hold has expired."


class HoldReleased(Conflict):
    code = "hold_released"
    default_detail = "The hold was released."


class AlreadyConfirmed(Conflict):
    code = "already_confirmed"
    default_detail = "The purchase is paid already."


class AlreadyCancelled(Conflict):
    code = "already_cancelled"
    default_detail = "Fewer tickets of the purchase are left to cancel."


class TooManyCancellations(Conflict):
    code = "too_many_cancellations"
    default_detail = (
        "The cancellations of the purchase have 1,000 items; cancel all the rest in one request."
    )


class PaymentReferenceUsed(Conflict):
    code = "payment_reference_used"
    default_detail = "This payment reference confirms another purchase, or was refused 100 times."


class ExtensionLimit(Conflict):
    code = "extension_limit"
    default_detail = "The holds of this event cannot be extended by more than a year in all."


class EpochChanged(Conflict):
    code = "epoch_changed"
    default_detail = "The database was restored since; read the ledger again from its beginning."


class PreconditionFailed(Problem):
    status = 412
    code = "precondition_failed"
    default_detail = "The resource has changed since it was read; read it again."


class BodyTooLarge(Problem):
    status = 413
    code = "body_too_large"
    default_detail = "The body is too large."


class UnsupportedContentEncoding(Problem):
    status = 415
    code = "unsupported_content_encoding"
    default_detail = "Send the body as it is, without a Content-Encoding."

    def __init__(self) -> None:
        # RFC 9110, 15.5.16
        super().__init__(headers={"Accept-Encoding": "identity"})


class IdempotencyKeyReused(Problem):
    status = 422
    code = "idempotency_key_reused"
    default_detail = "This Idempotency-Key was used with a different path or body."


class PreconditionRequired(Problem):
    status = 428
    code = "precondition_required"
    default_detail = "Send If-Match with the current ETag."


class TooManyRequests(Problem):
    status = 429
    code = "too_many_requests"
    default_detail = "Too many requests; retry after the time in Retry-After."


class TooManyExpiredHolds(TooManyRequests):
    code = "too_many_expired_holds"
    default_detail = "Too many of your holds for this event have expired; retry later."


class ServerError(Problem):
    """An unexpected error. Its cause is logged, and never sent to the client."""


class Unavailable(Problem):
    status = 503
    code = "unavailable"
    # It does not say that nothing was done: the fate of a commit may be unknown.
    default_detail = "Temporarily unavailable; retry, a POST with the same Idempotency-Key."

    def __init__(self, detail: str | None = None, *, retry_after_seconds: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after(retry_after_seconds))})


def problem_classes(base: type[Problem] = Problem) -> Iterator[type[Problem]]:
    """Every class of problems below `base`."""
    for problem in base.__subclasses__():
        yield problem
        yield from problem_classes(problem)
