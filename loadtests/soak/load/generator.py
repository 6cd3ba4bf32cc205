"""The process that makes the load, until its time is over or SIGTERM comes."""

import asyncio
import signal

import uvloop

from loadtests.bench.load.loops import intended_moments
from loadtests.eventify_command import eventify
from loadtests.soak.load.api import Api
from loadtests.soak.load.buyers import arrive
from loadtests.soak.load.organiser import Organiser
from loadtests.soak.load.plan import BUYERS, OUTSTANDING_SECONDS, LoadPlan
from loadtests.soak.load.tally import LoadReport, LoadTally
from loadtests.soak.load.visitors import Visitors
from loadtests.soak.load.world import World
from shared.web.server import raise_open_files_limit


def prepare() -> None:
    """In its process: SIGTERM ends the load, and never the process."""
    raise_open_files_limit()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def run_load(plan: LoadPlan) -> LoadReport:
    """Raises ConfigurationError where the system does not allow the first sales."""
    return uvloop.run(_run(plan))


async def _run(plan: LoadPlan) -> LoadReport:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    tally = LoadTally()
    api = Api(plan.port, tally)
    world = World(plan, await asyncio.to_thread(_mint, plan), tally, api)
    organiser, visitors = Organiser(world), Visitors(world)
    await visitors.register_all()
    await organiser.open_all()
    moments = intended_moments(plan.per_second, plan.seconds, seed=1)
    most = round(OUTSTANDING_SECONDS * plan.per_second)
    tally.begin()
    tasks = [
        asyncio.create_task(work)
        for work in (
            arrive(world, moments, tally.began_at, most),
            _when(stopped),
            organiser.sell(),
            organiser.read_lists(),
            visitors.look(),
            visitors.sign_in_and_out(),
            _end_minutes(world),
            _renew_tokens(world),
        )
    ]
    # Another than the first two that ends has failed: its reason is raised below.
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    api.close()
    for error in ended:
        if isinstance(error, Exception):
            raise error
    return tally.report()


async def _when(stopped: asyncio.Event) -> None:
    await stopped.wait()


async def _end_minutes(world: World) -> None:
    while True:
        await asyncio.sleep(world.plan.bucket_seconds)
        world.tally.end_minute()


async def _renew_tokens(world: World) -> None:
    """As sign-ins would over days: no gateway has seen the new ones."""
    while True:
        await asyncio.sleep(world.plan.tokens_seconds)
        world.tokens = await asyncio.to_thread(_mint, world.plan)


def _mint(plan: LoadPlan) -> list[str]:
    command = ("token", "buyer", "--count", str(BUYERS))
    return eventify(*command, environment=plan.environment).splitlines()
