"""What `forked_service.py` forks: the modules of the services, but those that read a variable."""

import gc
from importlib import import_module

SERVICES = (
    *("gateway.app", "catalog.app", "webhook_sender.sender"),
    *("purchase_worker.runtime", "purchase_worker.audit.runner"),
)
for module in SERVICES:
    import_module(module)
gc.collect()
gc.freeze()
