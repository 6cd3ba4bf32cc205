"""For each table docs/operations.md says what deletes its rows."""

import re

from shared.database.rights import RIGHTS
from tests.support.services import PROJECT


def test_every_table_is_in_the_list_of_what_is_kept() -> None:
    _, _, section = (PROJECT / "docs/operations.md").read_text().partition("\n## What is kept\n")
    rows = re.findall(r"^\| (`.*?`) \|", section.partition("\n## ")[0], re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(RIGHTS)
