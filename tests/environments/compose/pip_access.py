"""Lets a build reach the package index that this machine's pip is set up for.

Its configuration goes into the build as a secret, and the files and folders that it names are shown
to the build under the same names; nothing of it ends up in the image.
"""

import re
import subprocess
import sys
from pathlib import Path

# `global.cert='/etc/...'` and, of a variable, `:env:.cert='/etc/...'`; the latter stands above.
LINE = re.compile(r"^(global|install|:env:)\.([\w-]+)='(.*)'$")
A_PATH = re.compile(r"(file://)?(/[^\s']+)")


def pip_configuration() -> dict[str, str]:
    """What pip is set up for here, by option."""
    reported = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    found = [match.groups() for line in reported.splitlines() if (match := LINE.match(line))]
    found.sort(key=lambda group: group[0] == ":env:")
    return {option: value for _, option, value in found}


def build_arguments(folder: Path) -> list[str]:
    """Arguments of `podman build`; the secret is written into this folder."""
    configuration = pip_configuration()
    secret = folder / "pip.conf"
    lines = "".join(f"{option} = {value}\n" for option, value in configuration.items())
    secret.write_text(f"[global]\n{lines}")
    found = [match for value in configuration.values() for match in A_PATH.findall(value)]
    # An index in files names others beside it.
    named = {Path(path).parent if is_url else Path(path) for is_url, path in found}
    shown = [f"--volume={path}:{path}:ro" for path in sorted(named) if path.exists()]
    return ["--network=host", f"--secret=id=pip,src={secret}", *shown]
