"""`make fuzz`: a system is started, asked all kinds of things, audited, and stopped."""

import sys

from tests.fuzz.system import a_system


def main() -> int:
    """Pass on the options of `schemathesis run`; 0 if nothing was found and the audit passes."""
    with a_system() as system:
        fuzzed = system.fuzz(*sys.argv[1:], quietly=False)
        audit = system.operator.run("audit")
        sys.stdout.write(audit.stdout + audit.stderr)
        return fuzzed.returncode or audit.returncode


if __name__ == "__main__":
    sys.exit(main())
