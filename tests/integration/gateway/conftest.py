"""One gateway for all tests of a file, whose `settings` are those of its module."""

from collections.abc import Iterator

import pytest

from shared.config.settings import Settings
from tests.support.gateways import running_gateway


@pytest.fixture(scope="module")
def gateway_url(settings: Settings) -> Iterator[str]:
    with running_gateway(settings) as client:
        yield str(client.base_url)
