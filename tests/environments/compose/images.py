"""The images: Eventify's from its real Dockerfile, the others' stand-ins under their real names.

A stand-in is made of Debian's packages and of the servers inside wheels. It has the user, the paths
and the variables that docker-compose.yml relies on, and is otherwise not the real image.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, run
from tempfile import TemporaryDirectory

from deploy.local.servers.wheels import postgres_programs, valkey_program
from tests.environments.compose.engine import Engine
from tests.environments.compose.pip_access import build_arguments
from tests.support.services import PROJECT

STANDINS = Path(__file__).parent / "standins"
DEBIAN = "localhost/eventify-standin-bookworm"
SUITE = "bookworm"
DEBIAN_PACKAGES = "ca-certificates,python3,python3-venv,python3-pip,redis-tools"
MIRROR = "http://deb.debian.org/debian"
# What podman 4.3 takes `eventify:...` for when docker compose asks for it.
REGISTRY = "docker.io/library"


def build_all(engine: Engine, images: dict[str, str], version: str) -> None:
    """Build what is not there yet; Eventify's own anew, from layers that are.

    Args:
        engine: where.
        images: the names of the stand-ins, as docker-compose.yml has them, by service.
        version: the tag of Eventify's own.
    """
    if not engine.has_image(DEBIAN):
        _build_debian(engine)
    servers = {
        # The folder of all wheels, for its libraries lie in another.
        "postgres": postgres_programs().parent.parent.parent,
        "valkey": valkey_program().parent,
    }
    for service, programs in servers.items():
        _build_standin(engine, service, images[service], f"--build-context=programs={programs}")
    _build_standin(engine, "prometheus", images["prometheus"], "--network=host")
    _build_standin(engine, "python", python_image())
    _build_eventify(engine, "services", f"{REGISTRY}/eventify:{version}")
    _build_eventify(engine, "loadtest", f"{REGISTRY}/eventify-loadtest:{version}")


def python_image() -> str:
    """The base, as the Dockerfile names it."""
    found = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", _dockerfile().read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def _build_debian(engine: Engine) -> None:
    with _folder() as folder:
        root = folder / "root"
        run(
            [
                *("debootstrap", "--variant=minbase", f"--include={DEBIAN_PACKAGES}"),
                *(SUITE, str(root), MIRROR),
            ],
            stdout=DEVNULL,
            check=True,
        )
        path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        archive = ["tar", "--create", "--exclude=./var/cache/apt", f"--directory={root}", "."]
        engine.run_piped(archive, "import", f"--change={path}", "-", DEBIAN)


def _build_standin(engine: Engine, service: str, name: str, *arguments: str) -> None:
    file = STANDINS / f"{service}.Containerfile"
    _build(engine, name, file, STANDINS, arguments)


def _build_eventify(engine: Engine, target: str, name: str) -> None:
    with _folder() as folder:
        arguments = (f"--target={target}", *build_arguments(folder))
        _build(engine, name, _dockerfile(), PROJECT, arguments)


def _build(
    engine: Engine, name: str, file: Path, context: Path, arguments: tuple[str, ...]
) -> None:
    always = ("--quiet", "--pull=never", "--layers", f"--tag={name}", f"--file={file}")
    engine.run("build", *always, *arguments, str(context))


def _dockerfile() -> Path:
    return PROJECT / "deploy/docker/Dockerfile"


@contextmanager
def _folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="eventify-compose-") as folder:
        yield Path(folder)
