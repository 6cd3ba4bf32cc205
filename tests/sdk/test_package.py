"""What is shipped: classes of all codes, a wheel that works alone, and its size."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from eventify_client import Client, errors
from eventify_client.client import Purchases

from shared.errors import EventifyError, Problem, problem_classes
from tests.system.operators import PROJECT

SDK = PROJECT / "sdk" / "python"
SOURCES = sorted((SDK / "eventify_client").glob("*.py"))


def test_each_code_has_its_class_below_that_of_its_parent() -> None:
    for problem in problem_classes():
        error = errors.APIError.of_code[problem.code]
        parent = problem.__mro__[1]
        if parent not in (Problem, EventifyError):
            assert issubclass(error, errors.APIError.of_code[parent.code]), problem


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, errors.BadRequest), (409, errors.Conflict), (418, errors.APIError)],
)
def test_an_unknown_code_has_the_class_of_its_status(
    status: int, kind: type[errors.APIError]
) -> None:
    assert type(errors.api_error(status, {"code": "of_a_later_version"}, {})) is kind


def test_it_is_small_enough_to_be_read_before_it_is_trusted() -> None:
    lines = [line for source in SOURCES for line in source.read_text().splitlines()]
    # A class that has only a name is not read: it is looked up. Each new error code adds one.
    assert sum(not re.match(r"class .*\): \.\.\.", line) for line in lines) <= 862


# msgspec calls it to prepare a type, and a thread that decodes meanwhile crashes (0.22).
PREPARED_AT_IMPORT = """
import sys
from eventify_client import Client, errors, models
client = Client("http://localhost")
pages = (client.purchases._page, client.events._page, client.ticket_types._page)
late = []
sys.setprofile(lambda frame, *_: late.append(frame.f_code.co_name))
for model in (*pages, models.Purchase, models.Ledger, models.Delivery, models.TokenPair):
    try:
        errors.msgspec.json.decode(b"{}", type=model)
    except errors.msgspec.ValidationError:
        pass
errors.api_error(400, {"short": [{"ticket_type": 1, "quantity": 2, "left": 0}]}, {})
sys.setprofile(None)
sys.exit("get_class_annotations" in late)
"""


def test_threads_may_be_the_first_to_decode() -> None:
    subprocess.run([sys.executable, "-c", PREPARED_AT_IMPORT], cwd=SDK, check=True)


def test_an_address_without_its_scheme_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="'localhost:8000' has to begin with http:// or https://"):
        Client("localhost:8000")


def test_the_wheel_works_alone(tmp_path: Path) -> None:
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    copied = tmp_path / "source"
    subprocess.run(["cp", "-r", str(SDK), str(copied)], check=True)
    subprocess.run([*build, "--no-index", "-q", "-w", str(tmp_path), str(copied)], check=True)
    (wheel,) = tmp_path.glob("eventify_client-*.whl")
    used = "import eventify_client; assert '.whl' in eventify_client.__file__"
    modules = "import sys; assert not {'gateway', 'shared', 'catalog'} & sys.modules.keys()"
    program = f"import sys; sys.path.insert(0, {str(wheel)!r}); {used}; {modules}"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)


def test_help_shows_the_arguments_of_a_method() -> None:
    for buy in (Purchases.buy, Client("http://api").purchases.buy):
        assert "wait_for_sale" in inspect.signature(buy).parameters
        assert buy.__doc__


def test_a_program_of_both_clients_is_typed(tmp_path: Path) -> None:
    program = str(Path(__file__).with_name("typed_program.py"))
    check = ["-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path}", program]
    paths = os.environ | {"MYPYPATH": str(SDK)}
    subprocess.run([sys.executable, *check], env=paths, cwd=tmp_path, check=True)
