"""Clients find every field of events and ticket types in the documentation."""

import json
import re

import pytest
from pydantic import BaseModel

from catalog.events.schemas import Event
from catalog.ticket_types.schemas import TicketType
from tests.support.services import PROJECT

# What says itself, or is said below the tables.
SELF_EXPLANATORY = {"id", "owner", "event", "name", "created_at", "updated_at"}


@pytest.mark.parametrize(("model", "row"), [(Event, "an event"), (TicketType, "a ticket type")])
def test_the_guide_explains_each_field(model: type[BaseModel], row: str) -> None:
    _, _, table = (PROJECT / "docs/api.md").read_text().partition(f"\n| field of {row} |")
    names = re.findall(r"^\| (`.*?`) \|", table.partition("\n\n")[0], re.MULTILINE)
    explained = re.findall(r"`(\w+)`", " ".join(names))
    assert sorted(explained) == sorted(model.model_fields.keys() - SELF_EXPLANATORY)


@pytest.mark.parametrize(("model", "key"), [(Event, "title"), (TicketType, "name")])
def test_the_readme_shows_each_field(model: type[BaseModel], key: str) -> None:
    shown = re.search(
        rf'^{{"id":1,.*"{key}":.*}}$', (PROJECT / "README.md").read_text(), re.MULTILINE
    )
    assert shown
    assert list(json.loads(shown[0])) == list(model.model_fields)
