"""One compose project under a name of its own, driven by docker compose."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.environments.compose.engine import OPEN_FILES, Engine, Failed, of_project
from tests.support.services import PROJECT

# The tag of Eventify's images in these tests.
VERSION = "compose-test"
SLOWEST_SECONDS = 240


class ComposeProject:
    """What `docker compose` does with the repository's file, and what it made.

    Attributes:
        name: of the project.
        secrets: the folder of its secrets.
    """

    def __init__(self, engine: Engine, docker_host: str, folder: Path) -> None:
        self.name = f"eventify-test-{secrets.token_hex(4)}"
        self.secrets = folder / "secrets"
        self._engine = engine
        own = {
            "DOCKER_HOST": docker_host,
            "DOCKER_CONFIG": str(folder / "docker"),
            "EVENTIFY_VERSION": VERSION,
            "EVENTIFY_SECRETS": str(self.secrets),
            # A free port of the loopback interface for each gateway.
            "EVENTIFY_PORTS": "0",
            "PROMETHEUS_PORT": "0",
            "EVENTIFY_OPEN_FILES": str(OPEN_FILES),
        }
        self._environment = clean_environment() | own
        subprocess.run(
            ["sh", str(PROJECT / "deploy/docker/make-secrets"), str(self.secrets)],
            check=True,
            capture_output=True,
        )

    def compose(self, *arguments: str) -> str:
        """What `docker compose ARGUMENTS` prints.

        Raises:
            Failed: its exit code was not 0.
        """
        limits = Path(__file__).parent / "limits.yml"
        files = ("--file", str(PROJECT / "docker-compose.yml"), "--file", str(limits))
        done = subprocess.run(
            [docker_compose(), "--env-file", os.devnull, *files, "-p", self.name, *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=SLOWEST_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise Failed(f"docker compose {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def up(self, *arguments: str) -> None:
        """Start it, and wait until everything is healthy."""
        with self._engine.health_checked(self.name):
            self.compose(
                *("up", "--detach", "--no-build", "--pull", "never"),
                *("--wait", "--wait-timeout", str(SLOWEST_SECONDS - 10), *arguments),
            )

    def containers(self) -> dict[str, dict[str, Any]]:
        """What the engine tells of each container, by its name without the project's."""
        ids = self._engine.run("ps", "--all", "--quiet", "--filter", of_project(self.name)).split()
        found = self._engine.inspect(*ids) if ids else []
        return {one["Name"].removeprefix(f"{self.name}-"): one for one in found}

    def execute(self, container: str, *command: str) -> str:
        """What a command prints inside a container.

        Raises:
            Failed: its exit code was not 0.
        """
        return self._engine.run("exec", f"{self.name}-{container}", *command)

    def logs(self, container: str) -> str:
        """Both streams, as one."""
        return self.compose("logs", "--no-color", "--no-log-prefix", container.rpartition("-")[0])

    def gateway_url(self, number: int) -> str:
        """Where this gateway was published."""
        return self.published("gateway", 8000, number)

    def published(self, service: str, port: int, number: int = 1) -> str:
        """Where this port of a service can be reached from here."""
        address = self.compose("port", "--index", str(number), service, str(port)).strip()
        return f"http://{address}"

    def leftovers(self) -> dict[str, list[str]]:
        """What of the project is still there, by kind."""
        mine = ("--quiet", "--filter", of_project(self.name))
        kinds = {
            "containers": ("ps", "--all"),
            "volumes": ("volume", "ls"),
            "networks": ("network", "ls"),
        }
        return {kind: self._engine.run(*ask, *mine).split() for kind, ask in kinds.items()}


@contextmanager
def project(engine: Engine, folder: Path) -> Iterator[ComposeProject]:
    """A project of its own name, not started yet; what it leaves behind is taken down."""
    with engine.serving() as docker_host:
        mine = ComposeProject(engine, docker_host, folder)
        try:
            yield mine
        finally:
            mine.compose(
                "--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5"
            )


def configuration(*arguments: str, given: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The repository's compose file with all its profiles, as docker compose itself reads it."""
    command = ["--env-file", os.devnull, "--file", str(PROJECT / "docker-compose.yml")]
    done = subprocess.run(
        [docker_compose(), *command, "--profile", "*", "config", "--format=json", *arguments],
        env=clean_environment() | dict(given or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    read: dict[str, Any] = json.loads(done.stdout)
    return read


def clean_environment() -> dict[str, str]:
    """This process's environment without what docker compose would read from it."""
    own = ("EVENTIFY_", "POSTGRES_", "DOCKER_", "COMPOSE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)}


def docker_compose() -> str:
    """The program, which a wheel brought along."""
    return str(Path(sys.executable).parent / "docker-compose")
