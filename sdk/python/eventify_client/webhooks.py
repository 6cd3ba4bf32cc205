"""Deliveries of webhooks."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

from standardwebhooks import Webhook, WebhookVerificationError

from eventify_client.errors import InvalidSignature
from eventify_client.models import Entry, Model, decode


class Delivery(Model):
    """`entries` of one event in order; a test (`type`: `webhook.test`) has none, and no event.

    The same entry may come again: know it by event, epoch and number. If `epoch` is new, discard
    what you have of earlier ones after number `after`: a restore lost it.
    """

    id: str
    type: str
    timestamp: datetime
    event: int | None = None
    epoch: str | None = None
    after: int | None = None
    entries: tuple[Entry, ...] = ()


class Headers(Protocol):
    """A dict, or what your framework has."""

    def items(self) -> Iterable[tuple[str, str]]: ...


def verify_webhook(headers: Headers, body: bytes | str, secret: str | Sequence[str]) -> Delivery:
    """A delivery that is genuine. `body` is as it came; several secrets: any of them.

    Raises:
        InvalidSignature: it is not, or it is older than five minutes.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    for one in (secret,) if isinstance(secret, str) else secret:
        try:
            Webhook(one).verify(body, lower, json_parse=False)
        except (WebhookVerificationError, ValueError):  # ValueError: headers of another form
            continue
        content = json.loads(body)
        data = {**content, **content["data"], "id": lower["webhook-id"]}
        return decode(Delivery, data)
    raise InvalidSignature("The delivery is not signed with this secret, or is not of now.")
