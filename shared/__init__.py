"""The words and contracts that the services have in common. Knows no service."""
