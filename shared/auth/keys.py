"""RSA key files: one directory, `<kid>.pem` to sign and `<kid>.pub.pem` to verify.

Rotation is by overlap: every key in the directory verifies, and the newest one that all verifiers
have read signs.
"""

import fcntl
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPublicKey,
    generate_private_key,
)
from jwt.algorithms import RSAAlgorithm

from shared.durable_files import write_durably
from shared.errors import ConfigurationError

# NIST SP 800-57 part 1 allows 2048 bits until 2030; a signature is verified in 61 us.
RSA_BITS = 2048
PUBLIC_SUFFIX = ".pub.pem"
# Services read the directory this often; two public keys take 0.07 ms.
KEYS_RELOAD_SECONDS = 5.0
# Verifiers elsewhere may keep our JWK Set this long.
JWKS_MAX_AGE_SECONDS = 300
# A verifier may get a set without a new key until a gateway has reloaded, and then cache it.
SIGNS_AFTER_SECONDS = KEYS_RELOAD_SECONDS + JWKS_MAX_AGE_SECONDS

logger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SigningKey:
    kid: str
    private_key: RSAPrivateKey


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """`placed_at`: the public file's modification time, in Unix seconds.

    Unlike the time in the key's name, it is right also for a key that was made elsewhere.
    """

    kid: str
    can_sign: bool
    placed_at: float


def ensure_signing_key(keys_dir: Path) -> None:
    """Make the first key, if there is none. Concurrent processes make one key between them.

    With two first keys, a verifier could know one and get a token of the other.

    Raises:
        ConfigurationError: the directory cannot be written.
    """
    try:
        keys_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
        if _can_sign(keys_dir):
            return  # the directory may be read-only
        with _locked(keys_dir):
            if not _can_sign(keys_dir):
                add_signing_key(keys_dir)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot make signing keys in {keys_dir}: {error.strerror}."
        ) from error


def add_signing_key(keys_dir: Path) -> str:
    """Add a key and return its id. It verifies at once, and signs after `SIGNS_AFTER_SECONDS`."""
    # Names sort by age.
    kid = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"
    private_key = generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    # The public half first: no service may get a token whose key it cannot find.
    write_durably(
        keys_dir / f"{kid}{PUBLIC_SUFFIX}",
        private_key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        mode=0o644,
    )
    write_durably(
        keys_dir / f"{kid}.pem",
        private_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        mode=0o600,
    )
    return kid


def remove_key(keys_dir: Path, kid: str) -> None:
    """Delete a key; its tokens are invalid within `KEYS_RELOAD_SECONDS`.

    Raises:
        OSError: the directory cannot be written.
    """
    # The private half first: nothing may be signed that cannot be verified.
    (keys_dir / f"{kid}.pem").unlink(missing_ok=True)
    (keys_dir / f"{kid}{PUBLIC_SUFFIX}").unlink(missing_ok=True)


def keys_in(keys_dir: Path) -> list[KeyFiles]:
    """Every key that has its public half, the oldest first."""
    return sorted(
        (
            KeyFiles(
                kid=(kid := file.name.removesuffix(PUBLIC_SUFFIX)),
                can_sign=(keys_dir / f"{kid}.pem").exists(),
                placed_at=file.stat().st_mtime,
            )
            for file in keys_dir.glob(f"*{PUBLIC_SUFFIX}")
        ),
        key=lambda key: key.kid,
    )


def signing_kid(keys: Sequence[KeyFiles], now: float) -> str | None:
    """The newest key that every verifier has read; the oldest if all are too new.

    All are new in a container that has just been given them.

    Args:
        keys: the oldest first.
        now: Unix seconds.
    """
    private = [key for key in keys if key.can_sign]
    read_by_all = [key for key in private if key.placed_at <= now - SIGNS_AFTER_SECONDS]
    return (read_by_all[-1] if read_by_all else private[0]).kid if private else None


def load_signing_key(keys_dir: Path, known: SigningKey | None = None) -> SigningKey:
    """The key that signs now.

    Args:
        keys_dir: the directory of keys.
        known: a key that was loaded before, returned if it still signs: loading takes 50 ms.

    Raises:
        ConfigurationError: there is none, or it cannot be read.
    """
    try:
        file = _signing_file(keys_dir)
        if known is not None and known.kid == file.stem:
            return known
        key = serialization.load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"Cannot read a signing key in {keys_dir}: {error}.") from error
    if not isinstance(key, RSAPrivateKey):
        raise ConfigurationError(f"The signing key {file.name} is not an RSA key.")
    return SigningKey(file.stem, key)


def load_public_keys(keys_dir: Path) -> dict[str, RSAPublicKey]:
    """Every public key, by its id. A file that cannot be read is logged and skipped."""
    keys = {}
    for file in sorted(keys_dir.glob(f"*{PUBLIC_SUFFIX}")):
        try:
            key = serialization.load_pem_public_key(file.read_bytes())
        except (OSError, ValueError, UnsupportedAlgorithm) as error:
            logger.warning("public_key_unreadable", file=file.name, error=str(error))
            continue
        if isinstance(key, RSAPublicKey):
            keys[file.name.removesuffix(PUBLIC_SUFFIX)] = key
    return keys


def json_web_key_set(public_keys: dict[str, RSAPublicKey]) -> dict[str, list[dict[str, str]]]:
    # RFC 7517
    return {
        "keys": [
            {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": jwk["n"], "e": jwk["e"]}
            for kid, key in public_keys.items()
            for jwk in [RSAAlgorithm.to_jwk(key, as_dict=True)]
        ]
    }


def _can_sign(keys_dir: Path) -> bool:
    return any(key.can_sign for key in keys_in(keys_dir))


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold a lock on the directory itself; it ends with the process and leaves no file."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _signing_file(keys_dir: Path) -> Path:
    kid = signing_kid(keys_in(keys_dir), time.time())
    if kid is None:
        raise ConfigurationError(f"There is no signing key with its public half in {keys_dir}.")
    return keys_dir / f"{kid}.pem"
