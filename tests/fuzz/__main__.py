"""`make fuzz`: a system is started, asked all kinds of things, audited, and stopped."""

import sys
import tempfile
from pathlib import Path

from tests.fuzz.system import system_in


def main() -> int:
    """Pass on the options of `schemathesis run`; 0 if nothing was found and the audit passes."""
    with tempfile.TemporaryDirectory() as folder, system_in(Path(folder)) as system:
        fuzzed = system.fuzz(*sys.argv[1:], quietly=False)
        audit = system.operator.run("audit")
        sys.stdout.write(audit.stdout + audit.stderr)
        return fuzzed.returncode or audit.returncode


if __name__ == "__main__":
    sys.exit(main())
