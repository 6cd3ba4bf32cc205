"""The use cases of a user's webhooks."""

import secrets
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4, uuid5

from sqlalchemy import Engine

from gateway.user_transactions import UserTransactions
from gateway.webhooks import store
from gateway.webhooks.schemas import Webhook
from shared.config.public_url import parse_networks
from shared.config.settings import Settings
from shared.database.once import KeyedRequest
from shared.errors import UrlNotAllowed
from shared.webhooks import message_id, url_problem, written_secret

SECRET_BYTES = 32
# Of the ids of tests whose requests have a key: the same for the same key.
TESTS = UUID("8f6a2c1e-5d0b-4e7a-9c43-1b7de0a5f296")


class OwnWebhooks(UserTransactions):
    """Every call may raise Unavailable: too many wait, or the database is unavailable.

    All but `make` raise NotFound: the user has no such webhook. Those with `keyed` raise what
    `once` does, and return whether an earlier request had done it.
    """

    def __init__(self, settings: Settings, engine: Engine) -> None:
        super().__init__("own-webhooks", settings, engine)
        self._settings = settings
        self._allowed = parse_networks(settings.webhook_allowed_networks)

    async def make(
        self,
        user_id: int,
        url: str,
        event_id: int | None,
        kinds: list[str],
        keyed: KeyedRequest | None = None,
    ) -> tuple[Webhook, str | None]:
        """A new webhook and its secret; None: it was made before.

        Raises:
            UrlNotAllowed
            InvalidInput: the user has no such event.
            TokenNotValid: the user does not exist any more.
            Conflict: the user has too many webhooks.
        """
        self._check(url)
        secret = secrets.token_bytes(SECRET_BYTES)
        most = self._settings.webhooks_max_of_user
        made, is_replay = await self.run(
            user_id, store.add, url, event_id, kinds, secret, most, keyed
        )
        return made, None if is_replay else written_secret(secret)

    async def change(self, user_id: int, webhook_id: int, changes: Mapping[str, Any]) -> Webhook:
        """Raises UrlNotAllowed."""
        if "url" in changes:
            self._check(changes["url"])
        lease_seconds = self._settings.webhook_lease_seconds
        return await self.run(user_id, store.change, webhook_id, changes, lease_seconds)

    async def rotate(
        self, user_id: int, webhook_id: int, keyed: KeyedRequest | None = None
    ) -> tuple[Webhook, str | None]:
        """The webhook and its new secret; None: it was rotated before.

        Raises:
            Conflict: it was rotated too often.
        """
        secret = secrets.token_bytes(SECRET_BYTES)
        stored, is_replay = await self.run(user_id, store.rotate, webhook_id, secret, keyed)
        return stored, None if is_replay else written_secret(secret)

    async def test(
        self, user_id: int, webhook_id: int, keyed: KeyedRequest | None = None
    ) -> tuple[str, bool]:
        """The `webhook-id` of the test that will be sent."""
        test_id = uuid4() if keyed is None else uuid5(TESTS, repr(keyed))
        _, is_replay = await self.run(user_id, store.request_test, webhook_id, test_id, keyed)
        return message_id(test_id), is_replay

    async def rewind(
        self,
        user_id: int,
        webhook_id: int,
        event_id: int | None,
        after: int,
        keyed: KeyedRequest | None = None,
    ) -> tuple[int | None, bool]:
        """The event that is sent again.

        Raises:
            InvalidInput: the webhook does not follow this event, or its ledger is shorter.
        """
        lease_seconds = self._settings.webhook_lease_seconds
        stored, is_replay = await self.run(
            user_id, store.rewind, webhook_id, event_id, after, lease_seconds, keyed
        )
        return stored.event or event_id, is_replay

    def _check(self, url: str) -> None:
        problem = url_problem(
            url, allow_http=self._settings.webhook_allow_http, allowed=self._allowed
        )
        if problem is not None:
            raise UrlNotAllowed(errors={"url": [problem]})
