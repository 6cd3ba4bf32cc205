"""The files of the embedded servers: whose they are, and the passwords in them."""

import os
import pwd
from pathlib import Path

import pytest

from deploy.local.servers import embedded
from deploy.local.servers.embedded import prepare_postgres, prepare_valkey, service_logins
from shared.auth.keys import ensure_signing_key
from shared.errors import ConfigurationError

NOBODY = pwd.getpwnam("nobody").pw_uid


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take another user's files")
def test_root_does_not_take_another_users_database(tmp_path: Path) -> None:
    folder, data = tmp_path / "postgres", tmp_path / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").touch()
    for path in (tmp_path, folder, data):
        path.chmod(0o700)
        os.chown(path, NOBODY, NOBODY)

    with pytest.raises(ConfigurationError, match=f"{data} belongs to nobody: run Eventify"):
        prepare_postgres(folder, 5432)

    for path in (tmp_path, folder, data):
        assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (NOBODY, 0o700)


def test_an_empty_password_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "password").touch()
    (tmp_path / "eventify_worker_login.password").touch()

    with pytest.raises(ConfigurationError, match=f"{tmp_path}/password is empty.*: delete it"):
        prepare_valkey(tmp_path, 6379)
    with pytest.raises(ConfigurationError, match=r"worker_login\.password is empty.*: delete it"):
        service_logins(tmp_path, "postgresql://127.0.0.1/eventify")

    monkeypatch.setattr(embedded, "_give_to", lambda *_: None)
    with pytest.raises(ConfigurationError, match=f"{tmp_path}/password is empty.*: delete it"):
        prepare_postgres(tmp_path, 5432)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").touch()
    with pytest.raises(ConfigurationError, match=r"set another password .*#a-lost-password"):
        prepare_postgres(tmp_path, 5432)


def test_passwords_and_signing_keys_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def note(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    monkeypatch.setattr(os, "fsync", note)
    prepare_valkey(tmp_path / "valkey", 6379)
    assert synced == [".password.new", "valkey"]
    synced.clear()
    ensure_signing_key(tmp_path / "keys")
    (kid,) = (file.stem for file in (tmp_path / "keys").iterdir() if ".pub" not in file.name)
    assert synced == [f".{kid}.pub.pem.new", "keys", f".{kid}.pem.new", "keys"]
