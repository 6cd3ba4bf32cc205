"""The three ways to a gateway: straight, and through nginx as it is configured in practice."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.system.conftest import Shop
from tests.system.wire.nginx import running_nginx


@pytest.fixture(scope="package")
def proxies(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder: Path = tmp_path_factory.mktemp("nginx")
    with running_nginx(folder, urlsplit(shop.url).netloc) as urls:
        yield urls


@pytest.fixture(params=["deploy/proxy", "ingress-nginx"])
def proxy(request: pytest.FixtureRequest, proxies: dict[str, str]) -> str:
    """An nginx in front of the gateway."""
    return proxies[request.param]
