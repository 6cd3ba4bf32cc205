"""The version of this installation, as pyproject.toml has it."""

from importlib.metadata import version
from typing import Final

VERSION: Final = version("eventify")
