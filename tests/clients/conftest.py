"""One system for all clients of this folder, which SHARE_A_SYSTEM, and its OpenAPI document."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.clients.node import Node, require_node
from tests.system.conftest import Shop, open_shop


@pytest.fixture(scope="package")
def shop() -> Iterator[Shop]:
    # All clients have one address.
    with open_shop(EVENTIFY_SIGN_IN_RATE_BURST="10000") as shop:
        yield shop


@pytest.fixture(scope="package")
def document(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    path.write_bytes(httpx.get(f"{shop.url}/api/schema/").raise_for_status().content)
    return path


@pytest.fixture(scope="package")
def node() -> Node:
    return require_node()
