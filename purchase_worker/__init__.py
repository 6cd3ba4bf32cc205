"""Decides the queued purchases; audits and explains the decisions."""

# Before Celery is imported, which reads the environment then (shared/config/foreign_variables.py).
import shared  # noqa: F401
