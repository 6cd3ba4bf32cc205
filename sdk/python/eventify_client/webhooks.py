"""Deliveries of webhooks."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from msgspec import convert, json
from standardwebhooks import Webhook, WebhookVerificationError

from eventify_client.errors import InvalidSignature
from eventify_client.models import Delivery


class Headers(Protocol):
    def items(self) -> Iterable[tuple[str, str]]: ...


def verify_webhook(headers: Headers, body: bytes | str, secret: str | Sequence[str]) -> Delivery:
    """The delivery in `body`, as it came, or InvalidSignature. Of several secrets, any will do."""
    lower = {name.lower(): value for name, value in headers.items()}
    for one in (secret,) if isinstance(secret, str) else secret:
        try:
            Webhook(one).verify(body, lower, json_parse=False)
        except (WebhookVerificationError, ValueError):  # ValueError: headers of another form
            continue
        content = json.decode(body)
        return convert({**content, **content["data"], "id": lower["webhook-id"]}, Delivery)
    raise InvalidSignature("The delivery is not signed with this secret, or is not of now.")
