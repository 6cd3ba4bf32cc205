"""The public service: accounts and tokens, accepting purchases, their outcomes."""

# Before Celery is imported, which reads the environment then (shared/config/foreign_variables.py).
import shared  # noqa: F401
