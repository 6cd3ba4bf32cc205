"""Podman with a store of its own, and its API, to which docker compose talks as to Docker's.

Nothing of the user's own images, containers and networks is seen or touched.
"""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.waiting import eventually

# Images stay here from one run to the next: 2 to 3 GB.
CACHE = Path(os.environ.get("EVENTIFY_COMPOSE_CACHE") or Path.home() / ".cache/eventify-compose")
# Of podman's two kinds of networks only netavark resolves names in an internal network.
NEEDED = ("podman", "runc", "debootstrap", "netavark", "aardvark-dns")
# Podman starts the last two itself, and does not look for them in PATH.
PODMAN_HELPERS = (
    "/usr/local/libexec/podman",
    "/usr/local/lib/podman",
    "/usr/libexec/podman",
    "/usr/lib/podman",
)
# A machine that is confined itself lets root raise neither of the two, and podman would try.
OPEN_FILES = 8000
CONFIGURATION = f"""
[containers]
default_ulimits = ["nofile={OPEN_FILES}:{OPEN_FILES}", "nproc={OPEN_FILES}:{OPEN_FILES}"]
[network]
network_backend = "netavark"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
SLOWEST_SECONDS = 600
HEALTH_EVERY_SECONDS = 1.0


class Failed(AssertionError):
    """A command of the engine failed; with what it said."""


def what_is_missing() -> str:
    """What these tests need and this machine lacks, in a sentence; empty if there is nothing."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *PODMAN_HELPERS))
    missing = [program for program in NEEDED if shutil.which(program, path=path) is None]
    if missing:
        return f"install {', '.join(missing)} (apt-get install)"
    return "run it as root" if os.geteuid() != 0 else ""


class Engine:
    """Podman, by its command line and by the socket of its API."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        configuration = folder / "containers.conf"
        configuration.write_text(CONFIGURATION)
        self.socket = folder / "api.sock"
        self._environment = os.environ | {"CONTAINERS_CONF": str(configuration)}
        self._command = [
            "podman",
            *("--root", str(folder / "store"), "--runroot", str(folder / "run")),
            *("--tmpdir", str(folder / "tmp"), "--network-config-dir", str(folder / "networks")),
        ]

    def run(self, *arguments: str, input_bytes: bytes | None = None) -> str:
        """What `podman ARGUMENTS` prints.

        Raises:
            Failed: its exit code was not 0.
        """
        done = subprocess.run(
            [*self._command, *arguments],
            env=self._environment,
            input=input_bytes,
            capture_output=True,
            timeout=SLOWEST_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            said = (done.stdout + done.stderr).decode(errors="replace")
            raise Failed(f"podman {' '.join(arguments[:4])} ...: {said[-3000:]}")
        return done.stdout.decode()

    def run_piped(self, producer: list[str], *arguments: str) -> None:
        """Give the output of another program to `podman ARGUMENTS`."""
        with subprocess.Popen(producer, stdout=subprocess.PIPE) as source:
            subprocess.run(
                [*self._command, *arguments],
                env=self._environment,
                stdin=source.stdout,
                stdout=subprocess.DEVNULL,
                timeout=SLOWEST_SECONDS,
                check=True,
            )

    def has_image(self, name: str) -> bool:
        return bool(self.run("images", "--quiet", name).strip())

    def inspect(self, *names: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run("inspect", *names))
        return found

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Podman's API, as long as the block lasts; gives the URL for DOCKER_HOST."""
        self.socket.unlink(missing_ok=True)
        url = f"unix://{self.socket}"
        with subprocess.Popen(
            [*self._command, "system", "service", "--time=0", url],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as service:
            try:
                eventually(self.socket.stat, retry_on=FileNotFoundError)
                yield url
            finally:
                service.terminate()

    @contextmanager
    def health_checked(self, project: str) -> Iterator[None]:
        """Have every container's health check run, as long as the block lasts.

        Docker does it itself. Podman leaves it to timers of systemd, which not every machine runs.
        """
        over = threading.Event()

        def check_all() -> None:
            while not over.wait(HEALTH_EVERY_SECONDS):
                running = self.run("ps", "--quiet", "--filter", of_project(project)).split()
                for container in running:
                    if not over.is_set():
                        self._check_health(container)

        checking = threading.Thread(target=check_all, daemon=True)
        checking.start()
        try:
            yield
        finally:
            over.set()
            checking.join()

    def _check_health(self, container: str) -> None:
        """Its exit code tells the result, which the engine has then written down."""
        subprocess.run(
            [*self._command, "healthcheck", "run", container],
            env=self._environment,
            capture_output=True,
            check=False,
        )


def of_project(project: str) -> str:
    """The filter for what docker compose made for a project."""
    return f"label=com.docker.compose.project={project}"
