"""Decides the queued purchases, and proves that it decided rightly."""

# Before Celery is imported, which reads the environment then (shared/config/foreign_variables.py).
import shared  # noqa: F401
