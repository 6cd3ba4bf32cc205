"""The rehearsal of an on-sale: `locust --config loadtests/locust.conf`.

Who buys how is in users/, how many are there when in shapes.py. The master puts tickets on sale
when a test starts, and tells its workers what and with which tokens.
"""

import sys
from typing import Any

import msgspec
from locust import events
from locust.env import Environment
from locust.exception import StopTest
from locust.rpc import Message
from locust.runners import MasterRunner, WorkerRunner

from loadtests import arguments, recording
from loadtests.opening import open_sale
from loadtests.rehearsal import Rehearsal, take_part
from loadtests.shapes import OnSaleSpike, Soak, SteadyRamp
from loadtests.user_choice import chosen_by_tags
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

REHEARSAL = "rehearsal"


def on_init(environment: Environment, **_more: Any) -> None:
    """Make of Locust's environment what the arguments say."""
    runner, options = environment.runner, environment.parsed_options
    assert runner is not None
    assert options is not None
    if isinstance(runner, WorkerRunner):
        runner.register_message(REHEARSAL, on_rehearsal)
        return
    environment.user_classes[:] = chosen_by_tags(
        environment.user_classes, options.tags, options.exclude_tags
    )
    if not environment.user_classes:
        sys.exit("No user has a task with these tags.")
    if environment.available_shape_classes and not options.class_picker:
        environment.shape_class = environment.available_shape_classes[options.shape]
        environment.shape_class.runner = runner


def on_test_start(environment: Environment, **_more: Any) -> None:
    """Put the tickets on sale and share out the buyers, before the first of them comes."""
    runner, options = environment.runner, environment.parsed_options
    if isinstance(runner, WorkerRunner) or options is None:
        return
    buyers = options.spike_users + (options.num_users or 0)
    try:
        ticket_type_id, tokens = open_sale(str(environment.host), options, buyers)
    except StopTest:
        environment.process_exit_code = 1
        raise
    recording.watch([ticket_type_id])
    workers = runner.worker_count if isinstance(runner, MasterRunner) else 1
    rehearsal = Rehearsal(ticket_type_id, tokens, workers)
    if isinstance(runner, MasterRunner):
        runner.send_message(REHEARSAL, msgspec.to_builtins(rehearsal))
    else:
        take_part(rehearsal, 0)


def on_rehearsal(environment: Environment, msg: Message, **_more: Any) -> None:
    """A worker is told what is on sale; the master's order to start comes after it."""
    assert isinstance(environment.runner, WorkerRunner)
    take_part(msgspec.convert(msg.data, Rehearsal), environment.runner.worker_index)


events.init_command_line_parser.add_listener(arguments.add_arguments)
events.init.add_listener(on_init)
events.test_start.add_listener(on_test_start)
recording.attach()
