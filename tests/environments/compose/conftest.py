"""The images, built once, and one project that all tests share."""

from collections.abc import Iterator

import pytest

from tests.environments.compose.engine import CACHE, Engine, what_is_missing
from tests.environments.compose.images import build_all
from tests.environments.compose.project import VERSION, ComposeProject, configuration, project


@pytest.fixture(scope="session")
def engine() -> Engine:
    if missing := what_is_missing():
        pytest.exit(f"make compose-test cannot run here: {missing}.", returncode=2)
    return Engine(CACHE)


@pytest.fixture(scope="session")
def _images(engine: Engine) -> None:
    services = configuration()["services"]
    build_all(engine, {name: service["image"] for name, service in services.items()}, VERSION)


@pytest.fixture(scope="session")
def stack(
    engine: Engine, _images: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ComposeProject]:
    """Everything without a profile, with two gateways and two workers, healthy."""
    with project(engine, tmp_path_factory.mktemp("compose")) as running:
        running.up("--scale", "gateway=2", "--scale", "worker=2")
        yield running
    assert running.leftovers() == {"containers": [], "volumes": [], "networks": []}
