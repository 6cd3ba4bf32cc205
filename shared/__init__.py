"""The words and contracts that the services have in common. Knows no service."""

from shared.config.foreign_variables import remove_foreign_variables

remove_foreign_variables()
