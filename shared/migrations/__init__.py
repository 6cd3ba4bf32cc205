"""The schema's history; `shared.migrate` brings a database to its head."""
