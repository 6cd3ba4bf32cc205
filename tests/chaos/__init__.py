"""Faults on purpose: buyers buy while a nemesis strikes, and then every promise is checked."""
