"""A generated client buys. `make test-deep` has the other clients, their types and the linters."""

import shutil
import sys
from pathlib import Path

from tests.clients.commands import PROGRAMS, PYTHON_CLIENT, run
from tests.clients.story import check_story
from tests.system.conftest import Shop

STORY = "openapi_python_client_story.py"


def test_a_client_of_openapi_python_client_buys(document: Path, shop: Shop, tmp_path: Path) -> None:
    run(tmp_path, *PYTHON_CLIENT, "--path", document)
    shutil.copy(PROGRAMS / STORY, tmp_path)
    check_story(shop, run(tmp_path, sys.executable, STORY, shop.url, "story"))
