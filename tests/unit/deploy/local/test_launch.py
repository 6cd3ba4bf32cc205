"""A supervisor that cannot be recorded is stopped again."""

from pathlib import Path

import psutil
import pytest

from deploy.local import up
from deploy.local.home import Home, make_home
from shared.config.settings import Settings
from shared.errors import ConfigurationError


def test_nothing_runs_if_the_record_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, paths = Home(tmp_path), [up.make_socket_path()]
    make_home(home)
    home.state_file.mkdir()  # it cannot be replaced by a file
    monkeypatch.setattr(up, "make_socket_path", lambda: paths[0])
    before = psutil.Process().children()

    with pytest.raises(ConfigurationError, match=f"Cannot start Eventify in {tmp_path}: "):
        up._launch(
            home,
            up.UpOptions("127.0.0.1", 8000, gateways=1, workers=1),
            Settings(database_url="postgresql:///x"),
            {},
            servers=(),
            inherited=[],
        )

    assert set(psutil.Process().children()) <= set(before)
    assert not Path(paths[0]).parent.exists()
