"""The arguments of a rehearsal: on the command line, as environment variables, in locust.conf."""

from locust.argument_parser import LocustArgumentParser

SHAPES = ("OnSaleSpike", "SteadyRamp", "Soak")


def add_arguments(parser: LocustArgumentParser) -> None:
    parser.add_argument(
        "--shape",
        choices=SHAPES,
        default=SHAPES[0],
        env_var="LOCUST_SHAPE",
        include_in_web_ui=False,  # there it is Locust's own --class-picker that chooses
        help="How users come and go (default: %(default)s)",
    )
    parser.add_argument(
        "--spike-users",
        type=int,
        default=1000,
        env_var="LOCUST_SPIKE_USERS",
        help="Users that come in the 2 s after the opening, beside --users (default: %(default)s)",
    )
    parser.add_argument(
        "--quiet-seconds",
        type=int,
        default=5,
        env_var="LOCUST_QUIET_SECONDS",
        help="How long only --users are there before the spike (default: %(default)s)",
    )
    parser.add_argument(
        "--event-capacity",
        type=int,
        default=5000,
        env_var="LOCUST_EVENT_CAPACITY",
        help="Tickets of the sale that is made for the rehearsal (default: %(default)s)",
    )
    parser.add_argument(
        "--ticket-type",
        type=int,
        default=0,  # of None, Locust's web UI would make a text
        env_var="LOCUST_TICKET_TYPE",
        help="Id of the ticket type to buy from (default: a new one)",
    )
    parser.add_argument(
        "--tokens",
        metavar="FILE",
        default=None,
        env_var="LOCUST_TOKENS",
        include_in_web_ui=False,
        help="Access tokens of the buyers, one a line; without it they are minted by "
        "`eventify token`, for a system that runs on this machine",
    )
