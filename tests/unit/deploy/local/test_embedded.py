"""The files of the embedded servers: whose they are, and the passwords in them."""

import os
from pathlib import Path

import pytest

from deploy.local.servers import embedded
from deploy.local.servers.embedded import prepare_postgres, prepare_valkey, service_logins
from shared.auth.keys import ensure_signing_key
from shared.errors import ConfigurationError


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
