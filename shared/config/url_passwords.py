"""Hides the passwords of URLs that are shown."""

import re


def without_passwords(url: str) -> str:
    """The URL with each password as `***`; a URL of several servers has several."""
    # Up to the last `@` before the path, as urllib reads it; a password with `/` up to the first.
    hidden = re.sub(r"(?<=://)([^:/]*):(?:[^/?#;]*|[^@]*)@", r"\1:***@", url)
    return re.sub(r"(?i)(password=)[^&]*", r"\1***", hidden)
