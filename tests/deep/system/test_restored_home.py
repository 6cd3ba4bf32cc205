"""A home that is copied back: the guide's way to restore what `eventify up` keeps."""

import subprocess
from contextlib import closing
from pathlib import Path

from tests.system.conftest import Shop
from tests.system.operators import Operator

EPOCH = "SELECT epoch FROM ledger_epoch"
EPOCH_BEGAN_BEFORE_SERVICES = """
SELECT since < (SELECT min(backend_start) FROM pg_stat_activity
                WHERE application_name ~ '^eventify-(gateway|worker|sweeper|sender)')
FROM ledger_epoch
"""


def test_a_restored_home_has_another_epoch_before_a_service_runs(
    operator: Operator, tmp_path: Path
) -> None:
    """Else receivers of webhooks take what is decided meanwhile for the lost entries."""
    operator.start()
    before = scalar(operator, EPOCH)
    operator.stop()
    backup = operator.home.rename(tmp_path / "backup")
    operator.home.mkdir()
    subprocess.run(["cp", "-a", f"{backup}/.", operator.home], check=True)

    operator.start("--restored")
    assert scalar(operator, EPOCH) != before
    assert scalar(operator, EPOCH_BEGAN_BEFORE_SERVICES) is True


def scalar(operator: Operator, query: str) -> object:
    with closing(Shop(operator)) as shop, shop.database() as statements:
        statements.execute(query)
        (value,) = statements.fetchone() or (None,)
        return value
