"""Every abuse by name, with what it needs beforehand."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from tests.abuse import attacks
from tests.abuse.scene import Scene
from tests.abuse.wire import Attack, Target


@dataclass(frozen=True)
class Abuse:
    """`before`: brings about what the attack needs, for as long as it runs."""

    attack: Attack
    before: Callable[[Scene], AbstractContextManager[Target]] = Scene.nothing

    @property
    def name(self) -> str:
        function: Callable[..., object] = self.attack
        return function.__name__.replace("_", "-")

    @property
    def does(self) -> str:
        return (self.attack.__doc__ or "").partition("\n")[0]


REQUESTS = (
    Abuse(attacks.upgrade),
    Abuse(attacks.trailing_bytes),
    Abuse(attacks.crafted_password),
    Abuse(attacks.combining_marks),
    Abuse(attacks.nested_token),
    Abuse(attacks.long_path),
    Abuse(attacks.capacity_of_others),
    Abuse(attacks.searches, Scene.long_events),
    Abuse(attacks.unread_lists, Scene.long_events),
    Abuse(attacks.spent_refresh, Scene.spent_token),
    Abuse(attacks.readyz),
    Abuse(attacks.locked_row, Scene.locked_ticket_type),
)
FLOODS = (
    Abuse(attacks.registrations),
    Abuse(attacks.sign_ins_one),
    Abuse(attacks.sign_ins_many),
    Abuse(attacks.refreshes, Scene.spent_token),
    Abuse(attacks.forged_tokens),
    Abuse(attacks.lists, Scene.long_events),
    Abuse(attacks.long_polls, Scene.queued_purchases),
    Abuse(attacks.unread_events, Scene.queued_purchases),
    Abuse(attacks.slow_bodies),
    Abuse(attacks.slow_heads),
    Abuse(attacks.idle),
    Abuse(attacks.pipelined_unread, Scene.long_events),
    Abuse(attacks.pipelined_small),
    Abuse(attacks.unread_metrics),
    Abuse(attacks.unknown_routes),
    Abuse(attacks.metrics_and_schema),
    Abuse(attacks.big_bodies),
    Abuse(attacks.nested_bodies),
    Abuse(attacks.large_heads, Scene.queued_purchases),
    Abuse(attacks.purchases_of_one),
    Abuse(attacks.new_connections),
)
ABUSES = {abuse.name: abuse for abuse in (*REQUESTS, *FLOODS)}
