"""Eventify on one machine: embedded servers, and every process under one supervisor."""
