"""Decides the queued purchases, and proves that it decided rightly."""
