"""The programs of older PostgreSQL servers."""

import subprocess
from pathlib import Path

from tests.clients.node import node_with_packages

VERSIONS = (14, 15, 16, 17)


def programs_of(version: int) -> Path:
    """The folder of its `initdb` and `postgres`.

    Raises:
        MissingPackages: they cannot be installed.
    """
    node = node_with_packages(Path(__file__).parent)
    package = node.packages / f"postgres-{version}"
    # A package has no links. What npm runs after an installation makes those of its libraries.
    subprocess.run([node.program, "scripts/hydrate-symlinks.js"], cwd=package, check=True)
    return package / "native" / "bin"
