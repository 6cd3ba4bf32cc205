"""The examples of docs/api.md, which compile with the clients that they are for."""

import re

from tests.system.operators import PROJECT


def example(language: str) -> str:
    """Args: the fenced block's language: `py` or `ts`."""
    guide = (PROJECT / "docs" / "api.md").read_text()
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", guide, flags=re.DOTALL | re.MULTILINE)
    return str(text)
