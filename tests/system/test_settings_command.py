"""`eventify settings`: the settings in force."""

from pathlib import Path

from tests.support.command import eventify


def test_settings_in_force_are_shown_without_secrets(tmp_path: Path) -> None:
    shown = eventify(
        "settings",
        EVENTIFY_HOME=str(tmp_path),
        EVENTIFY_DATABASE_URL="postgresql://ada:geheim@db/eventify",
        EVENTIFY_LOG_LEVEL="debug",
    )

    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert "* EVENTIFY_DATABASE_URL=postgresql://ada:***@db/eventify" in lines
    assert "* EVENTIFY_LOG_LEVEL=DEBUG" in lines
    assert "  EVENTIFY_WAIT_MAX_SECONDS=30" in lines


def test_a_misspelt_setting_is_found_before_a_deployment(tmp_path: Path) -> None:
    checked = eventify(
        "settings",
        "--json",
        EVENTIFY_HOME=str(tmp_path),
        EVENTIFY_DATABASE_URL="postgresql://db/eventify",
        EVENTIFY_LOG_LEVL="DEBUG",
    )

    assert checked.returncode == 1
    meant = "EVENTIFY_LOG_LEVL is not a setting; did you mean EVENTIFY_LOG_LEVEL?"
    assert meant in checked.stderr
