"""The arguments of a rehearsal: on the command line, as LOCUST_* variables, in locust.conf."""

from typing import Any

from locust.argument_parser import LocustArgumentParser

SHAPES = ("OnSaleSpike", "SteadyRamp", "Soak")
# Locust's web UI would give a None back as a text: what it shows has another default.
WHOLE_NUMBERS = (
    ("--spike-users", 1000, "Users that come in the 2 s after the opening, beside --users"),
    ("--quiet-seconds", 5, "How long only --users are there before the spike"),
    ("--event-capacity", 5000, "Tickets of the sale that is made for the rehearsal"),
    (
        "--hold-seconds",
        0,
        "How long that sale holds tickets for their payment, from 30; 0: not at all",
    ),
    ("--ticket-type", 0, "Id of the ticket type to buy from; 0: a new one"),
)
# Not in the web UI, which would give them back as texts.
THRESHOLDS = (
    ("--max-p99-ms", "p99 from request to decision, in ms"),
    ("--max-sold-out-p99-ms", "p99 from request to 'sold out', in ms; else as --max-p99-ms"),
    ("--max-failure-ratio", "failed of all requests, 0.01 for 1 %%"),
    ("--min-throughput", "purchases decided per second, in the best five seconds"),
)


def add_arguments(parser: LocustArgumentParser) -> None:
    def add(name: str, text: str, **options: Any) -> None:
        variable = f"LOCUST_{name[2:].replace('-', '_').upper()}"
        parser.add_argument(name, env_var=variable, help=text, **options)

    for name, default, text in WHOLE_NUMBERS:
        add(name, f"{text} (default: %(default)s)", type=int, default=default)
    add(
        "--abandon",
        "Share of the held purchases that are not paid: half of these are released, half expire"
        " (default: %(default)s)",
        type=float,
        default=0.2,
    )
    for name, text in THRESHOLDS:
        add(name, f"Threshold: {text}", type=float, default=None, include_in_web_ui=False)
    # In the web UI it is Locust's own --class-picker that chooses.
    shapes: dict[str, Any] = {"choices": SHAPES, "default": SHAPES[0]}
    add(
        "--shape", "How users come and go (default: %(default)s)", **shapes, include_in_web_ui=False
    )
    add(
        "--tokens",
        "A file of the buyers' access tokens, one a line; without it they are minted by"
        " `eventify token`, for a system that runs on this machine",
        metavar="FILE",
        default=None,
        include_in_web_ui=False,
    )
    add(
        "--payments-key",
        "An API key of the event's owner with the scope payments, for --ticket-type; without it"
        " nobody pays there",
        default="",
        include_in_web_ui=False,
    )
    add(
        "--report-dir",
        "Where the report goes (default: loadtests/reports/<time>)",
        default="",
        include_in_web_ui=False,
    )
    parser.add_argument(
        "--database-url",
        default="",
        include_in_web_ui=False,
        help="The tested system's database; without it EVENTIFY_DATABASE_URL, or that of the system"
        " that runs here",
    )
