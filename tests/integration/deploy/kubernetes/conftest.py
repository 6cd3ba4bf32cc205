"""deploy/kubernetes as `kubectl apply -k` would send it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.deploy.kubernetes.rendered import Rendered
from tests.support.services import PROJECT

OVERLAYS = ("production", "single-node")


def render(folder: Path) -> Rendered:
    """What `kubectl kustomize` makes of a folder."""
    kubectl = Path(sys.executable).parent / "kubectl"
    ran = subprocess.run(
        [kubectl, "kustomize", folder], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return Rendered(ran.stdout)


@pytest.fixture(scope="session", params=OVERLAYS)
def rendered(request: pytest.FixtureRequest) -> Rendered:
    return render(PROJECT / "deploy/kubernetes/overlays" / request.param)


@pytest.fixture(scope="session")
def production() -> Rendered:
    return render(PROJECT / "deploy/kubernetes/overlays/production")
