"""Clients of openapi-python-client and datamodel-code-generator: they type-check, and buy.

That the first one buys is tested in tests/clients.
"""

import shutil
import sys
from pathlib import Path

import pytest

from tests.clients.commands import PROGRAMS, PYTHON_CLIENT, run, run_together
from tests.clients.guide import example
from tests.clients.story import check_story
from tests.system.conftest import Shop
from tests.system.operators import PROJECT

# Beside that of `make check`: its settings are others.
MYPY_CACHE = PROJECT / ".mypy_cache" / "clients"


@pytest.fixture(scope="module")
def folder(document: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("python")
    models = ["--output-model-type", "pydantic_v2.BaseModel", "--use-annotated"]
    models += ["--target-python-version", "3.11"]
    run_together(
        folder,
        [*PYTHON_CLIENT, "--path", document],
        ["datamodel-codegen", "--input", document, "--output", "eventify_models.py", *models],
    )
    for program in PROGRAMS.glob("*.py"):
        shutil.copy(program, folder)
    (folder / "example_of_the_guide.py").write_text(example("py"))
    return folder


def test_they_type_check(folder: Path) -> None:
    """A misspelt code in each program has to be an error: it is ignored, and needs to be."""
    files = [path.name for path in folder.glob("*.py")]
    mypy = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", MYPY_CACHE]
    run(folder, *mypy, "eventify_api_client", *files)


def test_what_is_built_on_the_models_buys(folder: Path, shop: Shop) -> None:
    program = "pydantic_models_story.py"
    check_story(shop, run(folder, sys.executable, program, shop.url, "models"))
