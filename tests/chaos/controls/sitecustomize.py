"""Python imports this at its start: breaks a service before it runs, where a test asks for that."""

import importlib
import os
import sys

_BREAKS = os.environ.get("EVENTIFY_CHAOS_CONTROL")
_SERVICES = ("gateway", "purchase_worker", "purchase_worker.sweep")

# `python -P -m gateway`, and nothing else that the system runs.
if _BREAKS and sys.orig_argv[-1] in _SERVICES:
    importlib.import_module(_BREAKS).break_it()
