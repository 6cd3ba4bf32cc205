"""A system for all tests of this folder: one that sends webhooks here, and lets all buy often."""

from collections.abc import Iterator

import httpx2
import pytest

from tests.system.conftest import Shop, open_shop


@pytest.fixture(scope="package")
def shop() -> Iterator[Shop]:
    with open_shop(
        EVENTIFY_PURCHASE_RATE_BURST="10000",
        EVENTIFY_CATALOG_WRITE_RATE_BURST="10000",
        EVENTIFY_LIST_RATE_BURST="10000",
        EVENTIFY_WEBHOOK_ALLOW_HTTP="true",
        EVENTIFY_WEBHOOK_ALLOWED_NETWORKS="127.0.0.0/8",
    ) as shop:
        yield shop


def token_of(user: object) -> str:
    """Of a user of the shop."""
    headers: httpx2.Headers = user.headers  # type: ignore[attr-defined]
    return headers["Authorization"].removeprefix("Bearer ")
