"""The manifests of tests/integration, for these tests."""

from tests.integration.deploy.kubernetes.conftest import (  # noqa: F401 - pytest finds them here
    production,
    rendered,
)
