"""The package as the image has it: what the Dockerfile copies, built into a wheel."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

PROJECT = Path(__file__).parents[3]
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"


def copied_by_the_dockerfile() -> list[str]:
    """The sources of its `COPY` lines, of the stage that builds the package."""
    text = (PROJECT / "deploy/docker/Dockerfile").read_text()
    stage = text.partition(" AS build\n")[2].partition("\nFROM ")[0]
    return [
        name
        for line in re.findall(r"^COPY (.+) \S+$", stage, re.MULTILINE)
        for name in line.split()
    ]


def test_the_package_has_every_file_of_the_pages(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in copied_by_the_dockerfile():
        if (PROJECT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(PROJECT / name, source / name, ignore=ignored)
        else:
            shutil.copy(PROJECT / name, source)
    build = [sys.executable, "-c", BUILD, str(tmp_path)]
    subprocess.run(build, cwd=source, check=True, capture_output=True)

    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if "gateway/pages/" in name}
    pages = PROJECT / "gateway/pages"
    files = {p for p in pages.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert {pages / "html/console.html", pages / "static/core/api.js"} <= files
    assert packed == {str(path.relative_to(PROJECT)) for path in files}
