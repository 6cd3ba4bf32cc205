"""A shop without rate limits."""

from collections.abc import Iterator

import pytest

from tests.system.conftest import Shop, open_shop

# A failure shows what differs.
MACHINES = ("accounts_machine", "catalog_machine", "sale_machine", "answers")
pytest.register_assert_rewrite(*(f"tests.deep.model.{machine}" for machine in MACHINES))


@pytest.fixture(scope="package")
def shop() -> Iterator[Shop]:
    with open_shop(
        EVENTIFY_PURCHASE_RATE_PER_SECOND="0",
        EVENTIFY_SIGN_IN_RATE_PER_SECOND="0",
        # Longer than any run: a machine under load must not age what was spent a moment ago.
        EVENTIFY_REFRESH_RETRY_SECONDS="36000",
    ) as shop:
        yield shop
