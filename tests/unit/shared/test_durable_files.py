"""A file is on the disk before it has its name."""

import os
from pathlib import Path

import pytest

from shared.durable_files import write_durably


def test_the_content_is_synced_before_the_rename_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "password"
    synced: list[tuple[Path, bool]] = []

    def note(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((path, file.exists()))

    monkeypatch.setattr(os, "fsync", note)
    write_durably(file, b"secret", mode=0o600)

    assert synced == [(tmp_path / ".password.new", False), (tmp_path, True)]
    assert file.read_bytes() == b"secret"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_what_a_power_cut_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".password.new").touch(0o644)
    file = tmp_path / "password"
    file.write_text("before")

    write_durably(file, b"secret", mode=0o600)

    assert file.read_bytes() == b"secret"
    assert file.stat().st_mode & 0o777 == 0o600
