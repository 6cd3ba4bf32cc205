"""Every error that Eventify raises, as one tree; each API error has its HTTP status and code.

What each code means to developers is here, too: docs/api.md and a page of the gateway have it.
"""

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
    # Of each code, in Markdown of one line, of which only `code` is used.
    when: ClassVar[str]
    what_to_do: ClassVar[str]

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
    when = (
        "a field, parameter or key is missing, unknown or not valid; there is no such ticket "
        "type or event; ticket types of several events; more than `max_per_purchase`"
    )
    what_to_do = "fix the fields in `errors`"


class MalformedBody(InvalidInput):
    code = "malformed_body"
    default_detail = "The body is not valid JSON."
    when = "the body is not JSON in UTF-8"
    what_to_do = "fix the client"


class UrlNotAllowed(InvalidInput):
    code = "url_not_allowed"
    default_detail = "A webhook may not have this URL."
    when = "a webhook's `url` is not https, has user info, or an address that is not public"
    what_to_do = "use another URL"


class NotEnoughTickets(Problem):
    status = 400
    code = "not_enough_tickets"
    default_detail = "Not enough tickets available"
    when = (
        "sold out, or rejected because too few were left (then with the purchase's `id`); "
        "`short` names the lines"
    )
    what_to_do = "buy fewer, or stop"


class AllHeld(Problem):
    status = 400
    code = "all_held"
    default_detail = "All tickets that are left are on hold; some may come back."
    when = "all that is left is held; of a cart, each line would fit if it came back"
    what_to_do = "retry after `Retry-After`; if it has an `id`, with another key"


class OverUserLimit(Problem):
    status = 400
    code = "over_user_limit"
    default_detail = "The limit of tickets per user is exceeded."
    when = (
        "the user would hold more than `max_per_user` of a ticket type or of the event; without an "
        "`id`: has made 500 more requests for the event than that, or 10,500 (an owner for "
        "themselves 10,500, confirmations and cancellations among them)"
    )
    what_to_do = "buy fewer, or stop; without an `id`: stop; an owner: name a `buyer`"


class SaleNotOpen(Problem):
    status = 400
    code = "sale_not_open"
    default_detail = "The sale of this ticket type has not started."
    when = "before `sales_start`"
    what_to_do = "retry after `Retry-After`, which is at most a day"


class SaleClosed(Problem):
    status = 400
    code = "sale_closed"
    default_detail = "The sale of this ticket type has ended."
    when = "after `sales_end`, or after the event"
    what_to_do = "stop"


class SalePaused(Problem):
    """Not a 5xx: proxies and alerts would take it for an outage."""

    status = 400
    code = "sale_paused"
    default_detail = "The sale of this ticket type is paused."
    when = "the sale is paused"
    what_to_do = "retry after `Retry-After`"


class NotAuthenticated(Problem):
    """Without credentials, the challenge names no error (RFC 6750, 3.1)."""

    status = 401
    code = "not_authenticated"
    default_detail = (
        "An access token or an API key is required, as `Authorization: Bearer <token>`."
    )
    when = "there is no `Authorization: Bearer` header with a token or an API key"
    what_to_do = "send one"
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
    when = "no account has this username and password"
    what_to_do = "check both"


class TokenExpired(NotAuthenticated):
    """Only where the signature is right: of a forged token nothing is told."""

    code = "token_expired"
    default_detail = "The access token has expired; refresh it, or sign in again."
    when = "the token is genuine, and its time is over"
    what_to_do = (
        "of an access token: refresh it, then retry with the same key; of a refresh token: sign "
        "in again"
    )
    token_was_bad = True


class TokenMalformed(NotAuthenticated):
    code = "token_malformed"
    default_detail = "This is neither a JSON Web Token nor an API key."
    when = (
        "it is neither a JSON Web Token nor an API key by its form; or there are two "
        "`Authorization` headers"
    )
    what_to_do = "fix the client: part of the token may be missing"
    token_was_bad = True


class TokenNotValid(NotAuthenticated):
    code = "token_not_valid"
    default_detail = "The token is not valid; sign in again."
    when = (
        "wrong signature, issuer or audience; a refresh token in the place of an access token, "
        "or the reverse; a refresh token that was used or revoked; an API key that is unknown, "
        "revoked or expired; a locked or deleted account"
    )
    what_to_do = "sign in again; of a key, see whether it is deleted or expired"
    token_was_bad = True


class PermissionDenied(Problem):
    status = 403
    code = "permission_denied"
    default_detail = "Only the event's owner may do this."
    when = "the event or ticket type belongs to another user"
    what_to_do = "do not retry"


class AccountLocked(Problem):
    status = 403
    code = "account_locked"
    default_detail = "This account is locked; ask the operator."
    when = "a sign-in with the right password to an account that the operator has locked"
    what_to_do = "ask the operator"


class RegistrationClosed(Problem):
    status = 403
    code = "registration_closed"
    default_detail = "Registration is closed."
    when = "the operator has closed registration"
    what_to_do = "ask the operator for an account"


class OutOfScope(Problem):
    status = 403
    code = "out_of_scope"
    default_detail = "This API key is not allowed to do this."
    when = "an API key without the scope for this, or where only a user's own token will do"
    what_to_do = "make a key with that scope"


class NotYourEvent(Problem):
    status = 403
    code = "not_your_event"
    default_detail = "Only with a key of the event's owner may a purchase name its buyer."
    when = "a purchase names a `buyer`, and the key's owner does not own the event"
    what_to_do = "do not retry"


class CrossSiteRequest(Problem):
    status = 403
    code = "cross_site_request"
    default_detail = "Cross-site requests are not allowed."
    when = "a browser sent it for a page of another site"
    what_to_do = "serve the page from the API's origin, or ask the operator to allow its own"


class NotFound(Problem):
    status = 404
    code = "not_found"
    default_detail = "Not found."
    when = (
        "it does not exist, or is another user's purchase of another's event; a page beyond the end"
    )
    what_to_do = "do not retry"


class MethodNotAllowed(Problem):
    status = 405
    code = "method_not_allowed"
    default_detail = "Method not allowed."
    when = "for example, a purchase cannot be changed or deleted"
    what_to_do = "use a method in `Allow`"


class BodyTooSlow(Problem):
    status = 408
    code = "body_too_slow"
    default_detail = "The body was not received in time."
    when = "the body was not received in time"
    what_to_do = "retry on a new connection"

    def __init__(self) -> None:
        # RFC 9110, 15.5.9: we will not wait for the rest on this connection.
        super().__init__(headers={"Connection": "close"})


class Conflict(Problem):
    status = 409
    code = "conflict"
    default_detail = "The request conflicts with the current state."
    when = (
        "deleting or moving an event or ticket type that has purchases; deleting an account "
        "that has purchases or events; too many keys, webhooks or secrets of one"
    )
    what_to_do = "do not retry"


class NotDecided(Conflict):
    code = "not_decided"
    default_detail = "The purchase is not decided yet; retry."
    when = "the purchase is queued"
    what_to_do = "retry after `Retry-After`"


class NotHeld(Conflict):
    code = "not_held"
    default_detail = "The purchase was never held, or was rejected."
    when = "what is to be confirmed or released was never held, or was rejected"
    what_to_do = "do not retry"


class NotConfirmed(Conflict):
    code = "not_confirmed"
    default_detail = "The purchase is not confirmed."
    when = "only a confirmed purchase is cancelled"
    what_to_do = "release it, if it is held"


class HoldExpired(Conflict):
    code = "hold_expired"
    default_detail = "The hold has expired."
    when = "it was held for too long"
    what_to_do = "void the payment"


class HoldReleased(Conflict):
    code = "hold_released"
    default_detail = "The hold was released."
    when = "its buyer, or the owner, gave it up"
    what_to_do = "void the payment"


class AlreadyConfirmed(Conflict):
    code = "already_confirmed"
    default_detail = "The purchase is paid already."
    when = "another payment confirmed it"
    what_to_do = "void this payment"


class AlreadyCancelled(Conflict):
    code = "already_cancelled"
    default_detail = "Fewer tickets of the purchase are left to cancel."
    when = "more than is left of the purchase"
    what_to_do = "read the purchase"


class TooManyCancellations(Conflict):
    code = "too_many_cancellations"
    default_detail = (
        "The cancellations of the purchase have 1,000 items; cancel all the rest in one request."
    )
    when = (
        "the cancellations of the purchase have 1,000 items in all, and not all the rest "
        "is to be cancelled"
    )
    what_to_do = "cancel the rest in one request"


class PaymentReferenceUsed(Conflict):
    code = "payment_reference_used"
    default_detail = "This payment reference confirms another purchase, or was refused 100 times."
    when = "the reference confirms another purchase, or was refused 100 times"
    what_to_do = "do not retry; find out why"


class ExtensionLimit(Conflict):
    code = "extension_limit"
    default_detail = "The holds of this event cannot be extended by more than a year in all."
    when = "the holds of the event were extended by a year in all"
    what_to_do = "do not retry"


class EpochChanged(Conflict):
    code = "epoch_changed"
    default_detail = "The database was restored since; read the ledger again from its beginning."
    when = "the database was restored since that address was given"
    what_to_do = "read the feed again from its beginning"


class PreconditionFailed(Problem):
    status = 412
    code = "precondition_failed"
    default_detail = "The resource has changed since it was read; read it again."
    when = "it changed since you read its `ETag`"
    what_to_do = "read it again, then decide"


class BodyTooLarge(Problem):
    status = 413
    code = "body_too_large"
    default_detail = "The body is too large."
    when = "the body exceeds the limit"
    what_to_do = "send less"


class UnsupportedContentEncoding(Problem):
    status = 415
    code = "unsupported_content_encoding"
    default_detail = "Send the body as it is, without a Content-Encoding."
    when = "the body is compressed (`Content-Encoding`)"
    what_to_do = "send it as it is"

    def __init__(self) -> None:
        # RFC 9110, 15.5.16
        super().__init__(headers={"Accept-Encoding": "identity"})


class IdempotencyKeyReused(Problem):
    status = 422
    code = "idempotency_key_reused"
    default_detail = "This Idempotency-Key was used with a different path or body."
    when = "the key was used with a different path or body"
    what_to_do = "use a new key for a new request"


class PreconditionRequired(Problem):
    status = 428
    code = "precondition_required"
    default_detail = "Send If-Match with the current ETag."
    when = "`capacity` is set without `If-Match` after a sale"
    what_to_do = "read it, then send its `ETag`"


class TooManyRequests(Problem):
    status = 429
    code = "too_many_requests"
    default_detail = "Too many requests; retry after the time in Retry-After."
    when = "a rate limit is exceeded"
    what_to_do = "retry after `Retry-After`"


class TooManyExpiredHolds(TooManyRequests):
    code = "too_many_expired_holds"
    default_detail = "Too many of your holds for this event have expired; retry later."
    when = "the user let too many holds of the event expire within an hour"
    what_to_do = "retry after `Retry-After`"


class ServerError(Problem):
    """An unexpected error. Its cause is logged, and never sent to the client."""

    when = "an unexpected error"
    what_to_do = "report the `X-Request-ID`; retry a POST with the same key"


class Unavailable(Problem):
    status = 503
    code = "unavailable"
    # It does not say that nothing was done: the fate of a commit may be unknown.
    default_detail = "Temporarily unavailable; retry, a POST with the same Idempotency-Key."
    when = (
        "the database or catalog is unavailable or took too long, a row is locked for long, the "
        "backlog is full, too many requests of this kind wait or are open, a trusted issuer's keys "
        "cannot be read, or the process is stopping"
    )
    what_to_do = "retry after `Retry-After`, with the same key"

    def __init__(self, detail: str | None = None, *, retry_after_seconds: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after(retry_after_seconds))})


def problem_classes(base: type[Problem] = Problem) -> Iterator[type[Problem]]:
    """Every class of problems below `base`."""
    for problem in base.__subclasses__():
        yield problem
        yield from problem_classes(problem)


def problem_of_each_code() -> list[type[Problem]]:
    """By status and code."""
    by_code = {problem.code: problem for problem in problem_classes()}
    return sorted(by_code.values(), key=lambda problem: (problem.status, problem.code))
