"""`eventify settings`: what is in force, for whoever is on call."""

from tests.system.operators import Operator

DATABASE = {"EVENTIFY_DATABASE_URL": "postgresql://ada:geheim@db/eventify"}


def test_settings_in_force_are_shown_without_secrets(operator: Operator) -> None:
    shown = operator.run("settings", EVENTIFY_LOG_LEVEL="debug", **DATABASE)

    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert "* EVENTIFY_DATABASE_URL=postgresql://ada:***@db/eventify" in lines
    assert "* EVENTIFY_LOG_LEVEL=DEBUG" in lines
    assert "  EVENTIFY_WAIT_MAX_SECONDS=30" in lines


def test_a_misspelt_setting_is_found_before_a_deployment(operator: Operator) -> None:
    checked = operator.run("settings", "--json", EVENTIFY_LOG_LEVL="DEBUG", **DATABASE)

    assert checked.returncode == 1
    meant = "EVENTIFY_LOG_LEVL is not a setting; did you mean EVENTIFY_LOG_LEVEL?"
    assert meant in checked.stderr
