"""The order of a start, and what a start that fails leaves."""

from pathlib import Path
from unittest.mock import Mock

import psutil
import pytest

from deploy.local import up
from deploy.local.home import Home, make_home
from deploy.local.services import GATEWAYS, SERVICES
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


@pytest.mark.parametrize("restored", [False, True])
def test_a_restored_database_is_told_of_before_a_service_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restored: bool
) -> None:
    done: list[object] = []
    supervisor = Mock()
    supervisor.start.side_effect = done.append
    monkeypatch.setattr(up.System, "client", supervisor)
    for waits in ("wait_for_supervisor", "wait_for_services"):
        monkeypatch.setattr(up, waits, Mock())
    monkeypatch.setattr(
        up, "migrate_all", lambda *_arguments, **named: done.append(named["restored"])
    )
    settings = Settings(database_url="postgresql:///x")
    system = up.System(Home(tmp_path), Mock(), settings, Mock())

    up._bring_up(system, (), restored, say=Mock(), stop_requested=lambda: False)

    assert done == [restored, SERVICES, GATEWAYS]
