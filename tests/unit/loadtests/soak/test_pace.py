"""A run is like days of sales, however long it is."""

import pytest

from loadtests.soak.pace import Pace
from shared.config.settings import Settings

HOUR = 3_600.0


@pytest.mark.parametrize("hours", [0.01, 0.1, 1, 5, 20])
def test_what_is_kept_for_a_time_is_gone_well_before_the_second_half(hours: float) -> None:
    pace = Pace(max(360.0, hours * HOUR))
    settings = pace.settings()
    for name in ("EVENTIFY_REFRESH_TOKEN_SECONDS", "EVENTIFY_RESULT_TTL_SECONDS"):
        assert int(settings[name]) <= pace.run_seconds / 12
    assert pace.sale_seconds < pace.run_seconds / 12
    assert pace.audit_seconds < pace.run_seconds / 2


@pytest.mark.parametrize("seconds", [12.0, 60.0, HOUR, 20 * HOUR])
def test_buyers_have_new_tokens_before_the_old_ones_end(seconds: float) -> None:
    assert Pace(seconds).tokens_seconds < Settings.model_fields["access_token_seconds"].default


@pytest.mark.parametrize("seconds", [12.0, HOUR, 20 * HOUR])
def test_there_are_samples_enough_and_not_too_many(seconds: float) -> None:
    pace = Pace(seconds)
    assert 12 <= seconds / pace.sample_seconds <= 7_200
    assert pace.bucket_seconds <= 60.0


def test_its_settings_are_settings() -> None:
    fields = {f"EVENTIFY_{name.upper()}" for name in Settings.model_fields}
    assert set(Pace(HOUR).settings()) <= fields
