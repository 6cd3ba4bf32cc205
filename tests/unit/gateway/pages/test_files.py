"""The files of the pages: how much a page loads, and what no file may do."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.pages.files import HTML, MEDIA_TYPES, STATIC, asset_hash, assets
from shared.errors import Problem, problem_classes

SERVED = {path.removeprefix(f"/assets/{asset_hash()}/"): file for path, file in assets().items()}
SCRIPT_OF_A_PAGE_MAX_BYTES = 15_000
# `import x from "./y.js"`, `import "./y.js"`, `export * from "./y.js"`
IMPORT = re.compile(r"""(?:\bfrom|\bimport)\s*["']([^"']+)["']""")
# `import("./y.js")`: a part that is loaded when it is opened
PART = re.compile(r"""\bimport\("(\.[^"]+)"\)""")
# An import of any other name would not be counted, and the policy blocks attributes of style.
MAKES_CODE_OF_TEXT = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|createContextualFragment|parseFromString|srcdoc"
    r"|document\.write|setHTML|\beval\b|\bFunction\(|setTimeout\(\s*[\"'`]|javascript:"
    r"|setAttribute\(\s*[\"'](?:on|style)|\bimport\s*\((?!\"\.)"
)


def imported_by(script: Path) -> Iterator[Path]:
    for name in IMPORT.findall(script.read_text()):
        assert name.startswith("."), f"{script} imports {name}"
        yield (script.parent / name).resolve()


def with_imports(script: Path) -> set[Path]:
    found, new = set[Path](), {script}
    while new:
        found |= new
        new = {each for known in new for each in imported_by(known)} - found
    return found


def scripts_of(page: str) -> set[Path]:
    """Every module that the page loads."""
    html = (HTML / f"{page}.html").read_text()
    mains = re.findall(r'<script[^>]*\bsrc="{{assets}}/([^"]+)"', html)
    assert mains
    return set[Path]().union(*(with_imports(STATIC / main) for main in mains))


def parts_of(scripts: set[Path]) -> dict[Path, set[Path]]:
    """Every module that is loaded when it is opened, with what it imports."""
    found: dict[Path, set[Path]] = {}
    new = scripts
    while new:
        named = {
            (script.parent / name).resolve()
            for script in new
            for name in PART.findall(script.read_text())
        }
        added = {part: with_imports(part) for part in named - found.keys()}
        found |= added
        new = set[Path]().union(*added.values())
    return found


def size_of(scripts: set[Path]) -> int:
    names = [path.relative_to(STATIC).as_posix() for path in scripts]
    return sum(len(SERVED[name].gzipped.body) for name in names)


@pytest.mark.parametrize("page", ["storefront", "event", "console"])
def test_the_script_of_a_page_is_small(page: str) -> None:
    scripts = scripts_of(page)
    assert size_of(scripts) < SCRIPT_OF_A_PAGE_MAX_BYTES
    for part, imported in parts_of(scripts).items():
        assert size_of(imported - scripts) < SCRIPT_OF_A_PAGE_MAX_BYTES, part


@pytest.mark.parametrize("page", ["storefront", "event", "console"])
def test_a_page_asks_for_its_modules_at_once(page: str) -> None:
    html = (HTML / f"{page}.html").read_text()
    preloaded = re.findall(r'<link rel="modulepreload" href="{{assets}}/([^"]+)"', html)
    imported = {str(path.relative_to(STATIC)) for path in scripts_of(page)}
    assert sorted(preloaded) == sorted(imported - {f"{page}/main.js"})


@pytest.mark.parametrize("script", sorted(path for path in SERVED if path.endswith(".js")))
def test_no_script_makes_code_of_a_text(script: str) -> None:
    lines = SERVED[script].plain.body.decode().splitlines()
    found = [f"{n}: {line}" for n, line in enumerate(lines, 1) if MAKES_CODE_OF_TEXT.search(line)]
    assert found == []
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("page", sorted(HTML.iterdir()), ids=lambda path: path.name)
def test_no_page_has_script_or_style_in_line(page: Path) -> None:
    html = page.read_text()
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=|javascript:", html) == []


def test_no_time_of_a_form_has_a_year_that_the_api_has_not() -> None:
    fields = re.findall(
        r'<input [^>]*type="datetime-local"[^>]*>', (HTML / "console.html").read_text()
    )
    assert fields
    years = 'min="0001-01-01T00:00" max="9999-12-31T23:59"'
    assert [field for field in fields if years not in field] == []


def test_every_asset_has_a_media_type_and_is_sent_at_once() -> None:
    assert {path.suffix for path in STATIC.rglob("*") if path.is_file()} <= MEDIA_TYPES.keys()
    # What a client does not read stays in memory, 64 KiB at most, as of every response.
    assert max(len(file.plain.body) for file in SERVED.values()) < 65_536


def test_a_script_is_sent_without_comments_and_indentation(tmp_path: Path) -> None:
    written = [
        *("/**", " * of `a`: // and /* too", " */", "// more", 'const a = "/* b */"; // stays'),
        *("  /* x */", "/* y */ f();", "  // z", '  g("*/");', ""),
    ]
    (tmp_path / "a.js").write_text("\n".join(written))
    (file,) = assets(tmp_path).values()
    assert file.plain.body.decode().split("\n") == [
        *("", "", "", "", 'const a = "/* b */"; // stays'),
        *("", "/* y */ f();", "", 'g("*/");', ""),
    ]


def test_the_hash_is_of_names_and_contents(tmp_path: Path) -> None:
    def hash_of(**files: str) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_text(content)
        return asset_hash(folder)

    hashes = [hash_of(a="1", b="2"), hash_of(a="12"), hash_of(a="2", b="1"), hash_of(a="1", c="2")]
    assert len(set(hashes)) == len(hashes)
    assert hash_of(b="2", a="1") == hashes[0]


def test_every_error_has_a_sentence_and_a_next_step() -> None:
    text = (STATIC / "core/errors.js").read_text()
    explained = re.findall(r'^  (\w+): \[\s*"[^"]+\.",\s*"[^"]+\.",?\s*\],$', text, re.MULTILINE)
    codes = {problem.code for problem in (Problem, *problem_classes())} | {"network"}
    assert sorted(explained) == sorted(codes)
