"""The directory of a system, and its lock."""

import os
from pathlib import Path

from deploy.local.home import Home, is_locked, lock_home, make_home, read_state


def test_nothing_runs_where_there_is_no_directory(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for path in (tmp_path / "nowhere", file):
        assert not is_locked(Home(path))
        assert read_state(Home(path)) is None


def test_a_home_is_locked_as_long_as_its_lock_is_open(tmp_path: Path) -> None:
    home = Home(tmp_path)
    make_home(home)
    lock = lock_home(home)
    assert is_locked(home)
    os.close(lock)
    assert not is_locked(home)
