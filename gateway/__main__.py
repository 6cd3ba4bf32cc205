"""Starts a gateway: `python -m gateway`."""

import gc

# Collections of what modules are find nothing, and cost a quarter of the start: none while they are
# imported, and none over them afterwards.
gc.disable()

from gateway.app import create_app
from shared.config.settings import get_settings
from shared.database.schema_version import refuse_former_schema
from shared.observability.logging import configure_logging
from shared.process import is_supervised, run_or_explain
from shared.web.server import serve


def run() -> None:
    gc.freeze()
    gc.enable()
    settings = get_settings()
    configure_logging(settings, "gateway")
    refuse_former_schema(settings, "gateway")
    serve(
        create_app(settings),
        settings.gateway_host,
        settings.gateway_port,
        settings,
        shares_port=is_supervised(),
    )


if __name__ == "__main__":
    run_or_explain(run)
