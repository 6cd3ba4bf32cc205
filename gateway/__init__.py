"""The only door: accounts and tokens, accepting purchases, telling outcomes."""

# Before Celery is imported, which reads the environment then (shared/config/foreign_variables.py).
import shared  # noqa: F401
