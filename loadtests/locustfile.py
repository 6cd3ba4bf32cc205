"""The rehearsal of an on-sale: `locust --config loadtests/locust.conf`.

users/ has what users do, shapes.py how many there are when, rehearsal/director.py what the master
does when a test starts.
"""

import logging
import sys
from typing import Any

from locust import events
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtests.recording import listeners
from loadtests.rehearsal.arguments import add_arguments
from loadtests.rehearsal.director import REHEARSAL, REHEARSAL_WANTED, Director, on_rehearsal
from loadtests.rehearsal.sale_tab import add_sale_tab
from loadtests.rehearsal.user_choice import chosen_by_tags
from loadtests.shapes import OnSaleSpike, Soak, SteadyRamp
from loadtests.users.abuser import Abuser
from loadtests.users.browser import Browser
from loadtests.users.buyer import Buyer
from loadtests.users.newcomer import Newcomer
from loadtests.users.retrier import Retrier

# Locust takes the users and shapes that it finds in this file.
__all__ = [
    "Abuser",
    "Browser",
    "Buyer",
    "Newcomer",
    "OnSaleSpike",
    "Retrier",
    "Soak",
    "SteadyRamp",
]


def on_init(environment: Environment, **_more: Any) -> None:
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        runner.register_message(REHEARSAL, on_rehearsal)
        runner.send_message(REHEARSAL_WANTED)
        return
    choose(environment)
    director = Director(environment)
    environment.events.test_start.add_listener(director.on_test_start)
    if isinstance(runner, MasterRunner):
        runner.register_message(REHEARSAL_WANTED, director.on_wanted)
    if environment.web_ui is not None:
        add_sale_tab(environment, environment.web_ui)


def choose(environment: Environment) -> None:
    """Take the users and the shape that the arguments name; exit if that leaves no user."""
    options = environment.parsed_options
    assert options is not None
    environment.user_classes[:] = chosen_by_tags(
        environment.user_classes, options.tags, options.exclude_tags
    )
    if not environment.user_classes:
        sys.exit("No user has a task with these tags.")
    if environment.available_shape_classes and not options.class_picker:
        environment.shape_class = environment.available_shape_classes[options.shape]
        environment.shape_class.runner = environment.runner


def is_about_the_ramp(record: logging.LogRecord) -> bool:
    """Whether it warns of a high spawn rate, which the opening of a sale is meant to have."""
    return "spawn rate is very high" in record.getMessage()


logging.getLogger("locust.runners").addFilter(lambda record: not is_about_the_ramp(record))
listeners.attach()
events.init_command_line_parser.add_listener(add_arguments)
events.init.add_listener(on_init)
