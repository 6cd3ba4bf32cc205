"""The schema's history; `shared.database.migrate` brings a database to its head."""
