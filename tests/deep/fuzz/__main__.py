"""`make fuzz`: a system is started, asked all kinds of things, audited, and stopped."""

import sys

from tests.deep.fuzz.system import a_system

# As a shell tells it: 128 and the number of SIGINT.
INTERRUPTED = 130


def main() -> int:
    """Pass on the options of `schemathesis run`; 0 if nothing was found and the audit passes."""
    try:
        return _fuzz()
    except KeyboardInterrupt:
        # The system is stopped by then, and what was found stands above.
        return INTERRUPTED


def _fuzz() -> int:
    with a_system() as system:
        fuzzed = system.fuzz(*sys.argv[1:], quietly=False)
        audit = system.operator.run("audit")
        sys.stdout.write(audit.stdout + audit.stderr)
        return fuzzed.returncode or audit.returncode


if __name__ == "__main__":
    sys.exit(main())
