"""Clients of openapi-typescript with openapi-fetch and of hey-api: they compile, and buy."""

import shutil
from pathlib import Path

import pytest

from tests.clients.commands import PROGRAMS, run, run_together
from tests.clients.guide import example
from tests.clients.node import Node
from tests.clients.story import check_story
from tests.system.conftest import Shop


@pytest.fixture(scope="module")
def folder(node: Node, document: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("typescript")
    for program in (*PROGRAMS.glob("*.ts"), PROGRAMS / "tsconfig.json"):
        shutil.copy(program, folder)
    (folder / "example_of_the_guide.ts").write_text(example("ts"))
    (folder / "node_modules").symlink_to(node.packages)
    run_together(
        folder,
        node.command("openapi-typescript", document, "-o", "openapi-typescript.d.ts"),
        node.command("openapi-ts", "-i", document, "-o", "hey-api"),
    )
    # `strict`, and a misspelt code in each program that has to be an error (`@ts-expect-error`).
    run(folder, *node.command("tsc", "-p", folder))
    return folder


@pytest.mark.parametrize("program", ["openapi_fetch_story", "hey_api_story"])
def test_it_compiles_and_buys(node: Node, folder: Path, shop: Shop, program: str) -> None:
    compiled = folder / "compiled" / f"{program}.js"
    check_story(shop, run(folder, node.program, compiled, shop.url, program))
