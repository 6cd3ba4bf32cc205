"""Checks each version of the models with Spin and prints the table of README.md: `make model`.

It needs spin and gcc, and of Python nothing but the standard library.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

MODEL: Final = Path(__file__).with_name("eventify.pml")
MARK: Final = MODEL.with_name("mark.pml")
HOLD: Final = MODEL.with_name("hold.pml")
MISSING: Final = "`make model` needs Spin and a C compiler: apt-get install spin gcc"
# Whether all is decided in the end, where nothing that can go on is kept waiting for ever.
LIVENESS: Final = "LIVENESS"

# Collapsed, a state takes two fifths; a limit in MB and one in steps, several times what is needed.
COMPILE: Final = ("gcc", "-w", "-DCOLLAPSE", "-DMEMLIM=4000")
SEARCH: Final = ("-m10000", "-n")
# Fairness counts processes: more than the six that Spin makes room for by itself.
OF_PROMISES: Final = (("-DSAFETY", "-DNOCLAIM"), ())
OF_LIVENESS: Final = (("-DNFAIR=3",), ("-a", "-f"))


class Version(NamedTuple):
    """A version of a model.

    `macros`: what makes it, as the model asks for it. `breaks`: the promise that Spin must find
    broken, None where it may find nothing. `is_quick`: done within a few seconds.
    """

    name: str
    macros: tuple[str, ...]
    breaks: str | None = None
    is_quick: bool = False
    model: Path = MODEL


class Finding(NamedTuple):
    """What Spin found of a version. Memory is in MB."""

    broken: str | None
    states: int
    depth: int
    memory: float
    seconds: float


# Of a hold: broken only after some million states.
SEARCHED_LONG: Final = frozenset(
    ("EXPIRES_AS_QUEUED", "RELEASES_AGAIN", "COUNTERS_APART", "KEY_APART", LIVENESS)
)
BELOW: Final = "nothing_comes_below_the_mark"
VERSIONS: Final = (
    Version("three purchases: promises", ()),
    Version("three purchases: decided in the end", (LIVENESS,)),
    Version("one sent twice: promises", ("REPEATED",)),
    Version("one sent twice: decided in the end", ("REPEATED", LIVENESS)),
    Version("a resolution: promises", ("RESOLUTION",)),
    Version("a resolution: decided in the end", ("RESOLUTION", LIVENESS)),
    Version("a change of capacity: promises", ("CAPACITY_CHANGE",)),
    Version("a change of capacity: decided in the end", ("CAPACITY_CHANGE", LIVENESS)),
    Version("the lock, without guards", ("NO_ANSWER_GUARD", "NO_NUMBER_GUARD")),
    Version("the guards, without the lock", ("NO_LOCK", "GUARDS_MAY_REFUSE")),
    Version(
        "the guards, without any lock: a change of capacity",
        ("CAPACITY_CHANGE", "NO_LOCK", "NO_CATALOG_LOCK", "GUARDS_MAY_REFUSE"),
    ),
    Version("reliable wake-ups, without a sweeper", ("WAKEUPS_ALONE", "NO_SWEEPER"), None, True),
    Version("no lock", ("NO_LOCK",), "no_guard_was_asked", True),
    Version(
        "no lock and no guard of numbers",
        ("NO_LOCK", "NO_NUMBER_GUARD", "GUARDS_MAY_REFUSE"),
        "numbers_without_a_gap",
        True,
    ),
    Version(
        "no lock and no guard of numbers, outcomes alone",
        ("NO_LOCK", "NO_NUMBER_GUARD", "GUARDS_MAY_REFUSE", "ONLY_OUTCOMES"),
        "never_oversold",
        True,
    ),
    Version(
        "no lock and no guard at all",
        ("NO_LOCK", "NO_NUMBER_GUARD", "NO_ANSWER_GUARD", "GUARDS_MAY_REFUSE", "ONLY_OUTCOMES"),
        "decided_once",
        True,
    ),
    Version("work list read before the lock", ("LIST_BEFORE_LOCK",), "no_guard_was_asked", True),
    Version(
        "work list read before the lock, no guard of answers",
        ("LIST_BEFORE_LOCK", "NO_ANSWER_GUARD", "GUARDS_MAY_REFUSE"),
        "decided_once",
        True,
    ),
    Version("counters read before the lock", ("COUNTERS_BEFORE_LOCK",), "no_guard_was_asked"),
    Version(
        "counters read before the lock, no guard of numbers",
        ("COUNTERS_BEFORE_LOCK", "NO_NUMBER_GUARD"),
        "left_is_right",
        True,
    ),
    Version(
        "capacity changed without the lock",
        ("CAPACITY_CHANGE", "NO_CATALOG_LOCK"),
        "no_guard_was_asked",
        True,
    ),
    Version(
        "capacity changed without the lock, no guard of numbers, outcomes alone",
        ("CAPACITY_CHANGE", "NO_CATALOG_LOCK", "NO_NUMBER_GUARD", "ONLY_OUTCOMES"),
        "never_oversold",
        True,
    ),
    Version("lines of a cart decided apart", ("LINES_APART",), "cart_all_or_nothing", True),
    Version(
        "resolutions queue behind purchases",
        ("RESOLUTION", "BY_SEQ_ALONE"),
        "resolutions_first",
        True,
    ),
    Version(
        "work row stored after its request",
        ("WORK_ROW_APART",),
        "work_list_is_what_is_undecided",
        True,
    ),
    Version(
        "work row stored after its request, outcomes alone",
        ("WORK_ROW_APART", "ONLY_OUTCOMES"),
        "first_come_first_served",
        True,
    ),
    Version(
        "work row stored after its request, decided in the end",
        ("WORK_ROW_APART", "ONLY_OUTCOMES", LIVENESS),
        "every_purchase_is_decided",
        True,
    ),
    Version(
        "work row deleted before its entry",
        ("DELETED_APART",),
        "work_list_is_what_is_undecided",
        True,
    ),
    Version(
        "work row deleted before its entry, decided in the end",
        ("DELETED_APART", "ONLY_OUTCOMES", LIVENESS),
        "every_purchase_is_decided",
        True,
    ),
    Version(
        "work row deleted after its entry", ("LEFT_BEHIND",), "work_list_is_what_is_undecided", True
    ),
    Version(
        "work row deleted after its entry, no guard of answers",
        ("LEFT_BEHIND", "ONLY_OUTCOMES", "NO_ANSWER_GUARD"),
        "decided_once",
        True,
    ),
    Version(
        "work row deleted after its entry, decided in the end",
        ("LEFT_BEHIND", "ONLY_OUTCOMES", "GUARDS_MAY_REFUSE", LIVENESS),
        "every_purchase_is_decided",
        True,
    ),
    Version("202 before the commit", ("ACK_BEFORE_COMMIT",), "acknowledged_is_stored", True),
    Version(
        "result before the commit",
        ("PUBLISH_BEFORE_COMMIT",),
        "result_never_ahead_of_database",
        True,
    ),
    Version("no unique key", ("REPEATED", "NO_UNIQUE_KEY"), "same_key_same_purchase", True),
    Version("no sweeper", ("NO_SWEEPER", LIVENESS), "every_purchase_is_decided", True),
    Version(
        "mark of wake-ups cleared once",
        ("WAKEUPS_ALONE", "NO_SWEEPER", "CLEARED_ONCE"),
        "nothing_left_behind",
        True,
    ),
    Version(
        "work list not read again after clearing the mark",
        ("WAKEUPS_ALONE", "NO_SWEEPER", "NO_READ_AFTER_CLEARING"),
        "nothing_left_behind",
        True,
    ),
    Version(
        "reliable wake-ups, one pass of the sweeper",
        ("WAKEUPS_ALONE", "ONE_SWEEP"),
        "nothing_left_behind",
        True,
    ),
    Version(
        "reliable wake-ups, a change of capacity, no sweeper",
        ("WAKEUPS_ALONE", "NO_SWEEPER", "CAPACITY_CHANGE"),
        "nothing_left_behind",
        True,
    ),
    Version("mark of a lane", (), model=MARK),
    Version("mark: xmax of the snapshot", ("XMAX_OF_THE_SNAPSHOT",), BELOW, True, MARK),
    Version("mark: id of the same batch", ("OWN_XID",), BELOW, True, MARK),
    Version("mark: sequence number before the id", ("SEQ_BEFORE_XID",), BELOW, True, MARK),
    Version("a hold, paid, released or expired: promises", (), model=HOLD),
    Version("a hold: settled in the end", (LIVENESS,), model=HOLD),
    Version("a hold, paid twice: promises", ("TWO_PAYMENTS",), model=HOLD),
    Version("a hold, paid twice: settled in the end", ("TWO_PAYMENTS", LIVENESS), model=HOLD),
    *(
        Version(f"a hold: {name}", macros, breaks, SEARCHED_LONG.isdisjoint(macros), HOLD)
        for name, macros, breaks in (
            ("no lock", ("NO_LOCK",), "each_command_has_one_entry"),
            (
                "expired by the clock, not in the lane",
                ("EXPIRES_BY_THE_CLOCK",),
                "payment_first_is_good",
            ),
            ("confirmed by the clock", ("CONFIRMS_BY_THE_CLOCK",), "payment_first_is_good"),
            (
                "confirmed again by another payment",
                ("TWO_PAYMENTS", "CONFIRMS_AGAIN"),
                "one_payment_confirms",
            ),
            (
                "an expiry that does not look whether it is held",
                ("EXPIRES_UNSEEN",),
                "hold_ends_once",
            ),
            (
                "an expiry that does not look when the hold ends",
                ("EXPIRES_AS_QUEUED",),
                "not_due_goes_on",
            ),
            ("released again", ("RELEASES_AGAIN",), "hold_ends_once"),
            ("released again, outcomes alone", ("RELEASES_AGAIN", "ONLY_OUTCOMES"), "sold_once"),
            ("counters moved after the entry", ("COUNTERS_APART",), "what_comes_back_is_left"),
            (
                "a retry is answered by an entry of its own",
                ("ANSWER_OF_ITS_OWN",),
                "returned_has_no_ticket",
            ),
            ("200 by what the gateway read", ("ANSWER_OF_THE_EDGE",), "charged_has_ticket"),
            ("reference stored apart from its command", ("KEY_APART",), "pending_is_stored"),
            ("no sweeper", ("NO_SWEEPER", LIVENESS), "every_payment_is_settled"),
        )
    ),
)

HEAD: Final = """\
| version | macros | Spin finds | states | depth | memory | time |
| --- | --- | --- | --- | --- | --- | --- |"""


def commands(version: Version) -> list[tuple[str, ...]]:
    """What one would type to check a version, in an empty folder."""
    defines = [f"-D{macro}" for macro in version.macros]
    # Where the search takes no time, compiling well would take longest.
    optimized = "-O0" if version.is_quick else "-O2"
    compiled, searched = OF_LIVENESS if LIVENESS in version.macros else OF_PROMISES
    return [
        ("spin", *defines, "-a", str(version.model)),
        (*COMPILE, optimized, *compiled, "-o", "pan", "pan.c"),
        ("./pan", *SEARCH, *searched),
    ]


def check(version: Version) -> Finding:
    """Have Spin look at every state, or until something is broken.

    Raises:
        subprocess.CalledProcessError: one of the commands failed.
        ValueError: the search was not finished.
    """
    with TemporaryDirectory() as folder:
        for command in commands(version):
            output = subprocess.run(
                command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True
            ).stdout
    return read(output)


def read(output: str) -> Finding:
    """What `pan` printed.

    Raises:
        ValueError: it gave up, for want of depth, memory or an end.
    """
    errors = re.search(r"errors: (\d+)", output)
    gave_up = "error: max search depth too small" in output or "out of memory" in output
    if errors is None or gave_up:
        raise ValueError(output)
    assertion = re.search(r"assertion violated (\w+)", output)
    claim = re.search(r"acceptance cycle", output) and re.search(r"\+ \((\w+)\)", output)
    named = assertion or claim
    if errors[1] != "0" and not named:
        raise ValueError(output)
    return Finding(
        broken=named[1] if named else None,
        states=int(_number(r"(\d+) states, stored", output)),
        depth=int(_number(r"depth reached (\d+)", output)),
        memory=_number(r"([\d.]+)\s+total actual memory", output),
        seconds=_number(r"elapsed time ([\d.e+-]+) seconds", output),
    )


def _number(pattern: str, output: str) -> float:
    found = re.search(pattern, output)
    if found is None:
        raise ValueError(output)
    return float(found[1])


def description(version: Version) -> str:
    """The part of its row that says what is checked and what must be found; never a measurement."""
    macros = " ".join(f"`{macro}`" for macro in version.macros) or "-"
    finds = f"**{version.breaks}** broken" if version.breaks else "all kept"
    return f"| {version.name} | {macros} | {finds} |"


def row(version: Version, finding: Finding) -> str:
    """Its row in the table."""
    measured = (
        f"{finding.states:,}",
        f"{finding.depth:,}",
        f"{finding.memory:,.0f} MB",
        f"{finding.seconds:.1f} s",
    )
    return f"{description(version)} {' | '.join(measured)} |"


def check_all(versions: Iterable[Version], report: Callable[[str], None]) -> list[str]:
    """Check each, reporting its row; returns what was not as expected."""
    surprises = []
    for version in versions:
        finding = check(version)
        if finding.broken == version.breaks:
            report(row(version, finding))
        else:
            surprises.append(
                f"{version.name}: expected {version.breaks or 'nothing'} to be broken,"
                f" found {finding.broken or 'nothing'}"
            )
    return surprises


def can_run() -> bool:
    """Whether Spin and its C compiler are here."""
    return all(shutil.which(tool) for tool in ("spin", "gcc"))


def main() -> int:
    """`--quick`: only what takes no time."""
    if not can_run():
        print(MISSING, file=sys.stderr)
        return 2
    quick = "--quick" in sys.argv[1:]
    print(HEAD)
    surprises = check_all(
        (version for version in VERSIONS if version.is_quick or not quick),
        lambda text: print(text, flush=True),
    )
    for surprise in surprises:
        print(surprise, file=sys.stderr)
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
