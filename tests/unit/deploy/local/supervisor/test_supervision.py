"""How long a stop may take."""

import pytest

from deploy.local.services import service_groups
from deploy.local.supervisor.program import POSTGRES_STOP_SECONDS
from deploy.local.supervisor.supervision import service_seconds, stop_seconds
from shared.config.settings import Settings


@pytest.mark.parametrize("environment", [{}, {"EVENTIFY_SHUTDOWN_SECONDS": "300"}])
def test_a_stop_is_waited_for_until_all_groups_have_stopped_or_are_killed(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    groups = service_groups(Settings(database_url="postgresql://nowhere/none"), 2, 2)
    longest = [max(program.stop_seconds for program in group.programs) for group in groups]

    assert stop_seconds(environment) > sum(longest) + POSTGRES_STOP_SECONDS
    assert service_seconds(environment) == max(longest)
