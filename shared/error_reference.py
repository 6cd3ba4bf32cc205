"""What each error code means to developers: docs/api.md and a page of the gateway have it."""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from shared.errors import Problem, problem_classes


class Explanation(NamedTuple):
    """In Markdown of one line, of which only `code` is used."""

    when: str
    what_to_do: str


EXPLANATIONS: Final[Mapping[str, Explanation]] = {
    "invalid": Explanation(
        "a field, parameter or key is missing, unknown or not valid; there is no such ticket "
        "type or event; ticket types of several events; more than `max_per_purchase`",
        "fix the fields in `errors`",
    ),
    "malformed_body": Explanation(
        "the body is not JSON in UTF-8",
        "fix the client",
    ),
    "url_not_allowed": Explanation(
        "a webhook's `url` is not https, has user info, or an address that is not public",
        "use another URL",
    ),
    "not_enough_tickets": Explanation(
        "sold out, or rejected because too few were left (then with the purchase's `id`); "
        "`short` names the lines",
        "buy fewer, or stop",
    ),
    "all_held": Explanation(
        "all that is left is held; of a cart, each line would fit if it came back",
        "retry after `Retry-After`; if it has an `id`, with another key",
    ),
    "over_user_limit": Explanation(
        "the user would hold more than `max_per_user` of a ticket type or of the event; without an "
        "`id`: has made 500 more requests for the event than that, or 10,500 (an owner for "
        "themselves 10,500, confirmations and cancellations among them)",
        "buy fewer, or stop; without an `id`: stop; an owner: name a `buyer`",
    ),
    "sale_not_open": Explanation(
        "before `sales_start`",
        "retry after `Retry-After`, which is at most a day",
    ),
    "sale_closed": Explanation(
        "after `sales_end`, or after the event",
        "stop",
    ),
    "sale_paused": Explanation(
        "the sale is paused",
        "retry after `Retry-After`",
    ),
    "not_authenticated": Explanation(
        "there is no `Authorization: Bearer` header with a token or an API key",
        "send one",
    ),
    "invalid_credentials": Explanation(
        "no account has this username and password",
        "check both",
    ),
    "token_expired": Explanation(
        "the token is genuine, and its time is over",
        "of an access token: refresh it, then retry with the same key; of a refresh token: sign "
        "in again",
    ),
    "token_malformed": Explanation(
        "it is neither a JSON Web Token nor an API key by its form; or there are two "
        "`Authorization` headers",
        "fix the client: part of the token may be missing",
    ),
    "token_not_valid": Explanation(
        "wrong signature, issuer or audience; a refresh token in the place of an access token, "
        "or the reverse; a refresh token that was used or revoked; an API key that is unknown, "
        "revoked or expired; a locked or deleted account",
        "sign in again; of a key, see whether it is deleted or expired",
    ),
    "out_of_scope": Explanation(
        "an API key without the scope for this, or where only a user's own token will do",
        "make a key with that scope",
    ),
    "not_your_event": Explanation(
        "a purchase names a `buyer`, and the key's owner does not own the event",
        "do not retry",
    ),
    "permission_denied": Explanation(
        "the event or ticket type belongs to another user",
        "do not retry",
    ),
    "account_locked": Explanation(
        "a sign-in with the right password to an account that the operator has locked",
        "ask the operator",
    ),
    "registration_closed": Explanation(
        "the operator has closed registration",
        "ask the operator for an account",
    ),
    "cross_site_request": Explanation(
        "a browser sent it for a page of another site",
        "serve the page from the API's origin, or ask the operator to allow its own",
    ),
    "not_found": Explanation(
        "it does not exist, or is another user's purchase of another's event; a page beyond the "
        "end",
        "do not retry",
    ),
    "method_not_allowed": Explanation(
        "for example, a purchase cannot be changed or deleted",
        "use a method in `Allow`",
    ),
    "body_too_slow": Explanation(
        "the body was not received in time",
        "retry on a new connection",
    ),
    "conflict": Explanation(
        "deleting or moving an event or ticket type that has purchases; deleting an account "
        "that has purchases or events; too many keys, webhooks or secrets of one",
        "do not retry",
    ),
    "not_decided": Explanation(
        "the purchase is queued",
        "retry after `Retry-After`",
    ),
    "not_held": Explanation(
        "what is to be confirmed or released was never held, or was rejected",
        "do not retry",
    ),
    "hold_expired": Explanation(
        "it was held for too long",
        "void the payment",
    ),
    "hold_released": Explanation(
        "its buyer, or the owner, gave it up",
        "void the payment",
    ),
    "already_confirmed": Explanation(
        "another payment confirmed it",
        "void this payment",
    ),
    "payment_reference_used": Explanation(
        "the reference confirms another purchase, or was refused 100 times",
        "do not retry; find out why",
    ),
    "epoch_changed": Explanation(
        "the database was restored since that address was given",
        "read the feed again from its beginning",
    ),
    "not_confirmed": Explanation(
        "only a confirmed purchase is cancelled",
        "release it, if it is held",
    ),
    "already_cancelled": Explanation(
        "more than is left of the purchase",
        "read the purchase",
    ),
    "too_many_cancellations": Explanation(
        "the cancellations of the purchase have 1,000 items in all, and not all the rest "
        "is to be cancelled",
        "cancel the rest in one request",
    ),
    "extension_limit": Explanation(
        "the holds of the event were extended by a year in all",
        "do not retry",
    ),
    "precondition_failed": Explanation(
        "it changed since you read its `ETag`",
        "read it again, then decide",
    ),
    "body_too_large": Explanation(
        "the body exceeds the limit",
        "send less",
    ),
    "unsupported_content_encoding": Explanation(
        "the body is compressed (`Content-Encoding`)",
        "send it as it is",
    ),
    "idempotency_key_reused": Explanation(
        "the key was used with a different path or body",
        "use a new key for a new request",
    ),
    "precondition_required": Explanation(
        "`capacity` is set without `If-Match` after a sale",
        "read it, then send its `ETag`",
    ),
    "too_many_requests": Explanation(
        "a rate limit is exceeded",
        "retry after `Retry-After`",
    ),
    "too_many_expired_holds": Explanation(
        "the user let too many holds of the event expire within an hour",
        "retry after `Retry-After`",
    ),
    "server_error": Explanation(
        "an unexpected error",
        "report the `X-Request-ID`; retry a POST with the same key",
    ),
    "unavailable": Explanation(
        "the database or catalog is unavailable, a row is locked for long, the backlog is full, "
        "a trusted issuer's keys cannot be read, or the process is stopping",
        "retry after `Retry-After`, with the same key",
    ),
}


def explained() -> Iterator[tuple[type[Problem], Explanation]]:
    """Every error with its explanation, by status and code."""
    by_code = {problem.code: problem for problem in problem_classes()}
    for problem in sorted(by_code.values(), key=lambda problem: (problem.status, problem.code)):
        yield problem, EXPLANATIONS[problem.code]


def markdown_row(problem: type[Problem], explanation: Explanation) -> str:
    """A row of the table in docs/api.md, with an anchor for the problem's `type`."""
    code = problem.code
    cells = (str(problem.status), f'<a id="{code}"></a>`{code}`', *explanation)
    return f"| {' | '.join(cells)} |"
