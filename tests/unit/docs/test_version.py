"""One version everywhere: pyproject.toml has it, and the newest release of the changelog is it."""

import re
import tomllib

from click.testing import CliRunner

from deploy.cli.main import main
from shared.version import VERSION
from tests.support.services import PROJECT

# Where a tag of an image stands.
TAGGED = (
    *("docker-compose.yml", ".env.example", "docs/compose.md", "docs/kubernetes.md"),
    *("deploy/docker/Dockerfile", "deploy/kubernetes/base/kustomization.yaml"),
    "deploy/kubernetes/overlays/production/kustomization.yaml",
)
TAG = re.compile(
    r"(?:eventify(?:-loadtest)?:|newTag: |EVENTIFY_VERSION(?:=|:-)|image\.version=\")(\d[\w.]*)"
)


def test_the_version_is_the_newest_release() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    releases = re.findall(
        r"^## \[(\d\S*)\] - \d{4}-\d\d-\d\d$", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert releases[0] == project["version"] == VERSION


def test_images_have_the_version_as_their_tag() -> None:
    for name in TAGGED:
        tags = TAG.findall((PROJECT / name).read_text())
        assert tags, name
        assert set(tags) == {VERSION}, name


def test_the_command_says_its_version() -> None:
    assert CliRunner().invoke(main, ["--version"]).output == f"eventify {VERSION}\n"
