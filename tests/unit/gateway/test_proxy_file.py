"""`deploy/proxy` and `deploy/kubernetes` beside the settings that they have to agree with."""

import re
from pathlib import Path

from gateway.catalog_proxy import KEEP_ALIVE_SHARE
from shared.config.settings import Settings

NGINX = Path(__file__).parents[3] / "deploy/proxy/nginx.conf"
KEEP_ALIVE_SECONDS = Settings.model_fields["keep_alive_seconds"].default


def test_who_sends_to_a_gateway_or_catalog_closes_first() -> None:
    (seconds,) = re.findall(r"keepalive_timeout (\d+)s;", NGINX.read_text())
    assert int(seconds) < KEEP_ALIVE_SECONDS
    assert KEEP_ALIVE_SHARE < 1
