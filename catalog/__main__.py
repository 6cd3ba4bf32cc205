"""Starts the catalog service: `python -m catalog`."""

import gc

# Collections of what modules are find nothing, and cost a quarter of the start: none while they are
# imported, and none over them afterwards.
gc.disable()

from catalog.app import create_app
from shared.config.settings import get_settings
from shared.database.schema_version import refuse_former_schema
from shared.observability.logging import configure_logging
from shared.process import is_supervised, run_or_explain
from shared.web.edge import Edge
from shared.web.public_address import PublicAddresses
from shared.web.server import serve


def run() -> None:
    gc.freeze()
    gc.enable()
    settings = get_settings()
    configure_logging(settings, "catalog")
    refuse_former_schema(settings, "catalog")
    app = create_app(settings)
    addresses: PublicAddresses = app.state.addresses
    edge = Edge(app, "catalog", addresses, access_log=settings.access_log)
    serve(
        edge,
        settings.catalog_host,
        settings.catalog_port,
        settings,
        shares_port=is_supervised(),
    )


if __name__ == "__main__":
    run_or_explain(run)
