"""Versions of Eventify that are broken on purpose: a check that lets one pass proves nothing.

This folder is put on the Python path of the system's processes, which then import `sitecustomize`.
"""
