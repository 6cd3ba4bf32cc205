"""A sale whose entries are sent, a receiver, and senders as processes of their own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.webhooks import store
from gateway.webhooks.schemas import DEFAULT_KINDS, Webhook, WebhookDelivery
from purchase_worker.drain import Batch, drain
from purchase_worker.publish.results import ResultPublisher
from shared.config.settings import Settings
from shared.web.pagination import PageWanted
from tests.support.factories import add_event, add_ticket_type, add_user, ignore, queue_many, scalar
from tests.support.receivers import Receiver

SECRET = b"s" * 32
MAX_OF_USER = 1_000


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Times that a test can wait for."""
    return settings.model_copy(
        update={
            "webhook_allow_http": True,
            "webhook_allowed_networks": "127.0.0.0/8",
            "webhook_timeout_seconds": 0.5,
            "webhook_retry_first_seconds": 0.1,
            "webhook_poll_seconds": 0.1,
        }
    )


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().running() as receiver:
        yield receiver


@dataclass
class Sale:
    """An event of an owner of its own, whose purchases are decided here."""

    engine: Engine
    settings: Settings
    owner: int
    event: int
    ticket_type: int
    publish: Callable[[Batch], None] = ignore

    def sell(self, how_many: int = 1) -> int:
        """Decide so many purchases; returns the number of the last entry."""
        queue_many(self.engine, self.ticket_type, how_many)
        drain(self.engine, [self.event], self.settings, self.publish)
        return self.last

    @property
    def last(self) -> int:
        number: int = scalar(
            self.engine, "SELECT number FROM lanes WHERE event_id = :id", id=self.event
        )
        return number

    def other(self, owner: int | None = None) -> "Sale":
        """Another event, by default of the same owner."""
        owner = self.owner if owner is None else owner
        event = add_event(self.engine, owner)
        ticket_type = add_ticket_type(self.engine, 1_000_000, event_id=event)
        return Sale(self.engine, self.settings, owner, event, ticket_type, self.publish)

    def change(self, webhook: Webhook, **changes: Any) -> Webhook:
        lease_seconds = self.settings.webhook_lease_seconds
        return store.change(self.engine, self.owner, webhook.id, changes, lease_seconds)

    def rewind(self, webhook: Webhook, after: int) -> None:
        lease_seconds = self.settings.webhook_lease_seconds
        store.rewind(self.engine, self.owner, webhook.id, None, after, lease_seconds)

    def webhook(self, url: str, event: int | None = -1, kinds: list[Any] | None = None) -> Webhook:
        """By default of this event."""
        made, _ = store.add(
            self.engine,
            self.owner,
            url,
            self.event if event == -1 else event,
            kinds or [*DEFAULT_KINDS],
            SECRET,
            MAX_OF_USER,
        )
        return made

    def read(self, webhook: Webhook) -> Webhook:
        return store.read(self.engine, self.owner, webhook.id)

    def attempts(self, webhook: Webhook) -> list[WebhookDelivery]:
        """Oldest first."""
        wanted = PageWanted(1, size=1_000, address="")
        page = store.deliveries(self.engine, self.owner, webhook.id, wanted)
        return list(reversed(page["results"]))


@pytest.fixture
def sale(engine: Engine, settings: Settings) -> Iterator[Sale]:
    publisher = ResultPublisher(settings)
    owner = add_user(engine)
    event = add_event(engine, owner)
    ticket_type = add_ticket_type(engine, 1_000_000, event_id=event)
    yield Sale(engine, settings, owner, event, ticket_type, publisher)
    publisher.redis.close()
