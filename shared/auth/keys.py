"""RSA key files: one folder, `<kid>.pem` to sign and `<kid>.pub.pem` to verify.

Rotation is by overlap: every key in the folder verifies, and of those that all verifiers have seen
the newest signs. A key whose files were taken away does neither.
"""

import base64
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

from shared.errors import ConfigurationError

# NIST SP 800-57 part 1: 2048 bits are good until 2030, and verify in 61 us (DESIGN).
RSA_BITS = 2048
PUBLIC_SUFFIX = ".pub.pem"
# Services look into the folder this often; reading two public keys takes 0.07 ms.
KEYS_RELOAD_SECONDS = 5.0
# Verifiers elsewhere may keep our JWK Set this long.
JWKS_MAX_AGE_SECONDS = 300
# The last set without a new key is handed out when a gateway has not looked yet, and is then kept.
SIGNS_AFTER_SECONDS = KEYS_RELOAD_SECONDS + JWKS_MAX_AGE_SECONDS

logger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SigningKey:
    kid: str
    private_key: RSAPrivateKey


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """A key in the folder.

    `placed_at`, Unix seconds, is the public file's age: unlike the time in a key's name, it counts
    from the moment when the key was put here, also if it was made elsewhere.
    """

    kid: str
    can_sign: bool
    placed_at: float


def ensure_signing_key(keys_dir: Path) -> None:
    """Make the first key where there is none; of several processes at once one makes it.

    With two first keys, a verifier could know the one and meet a token of the other.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    try:
        keys_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
        if _can_sign(keys_dir):
            return  # the folder may be read-only
        with _locked(keys_dir):
            if not _can_sign(keys_dir):
                add_signing_key(keys_dir)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot make signing keys in {keys_dir}: {error.strerror}."
        ) from error


def add_signing_key(keys_dir: Path) -> str:
    """Add a key and return its id. It verifies at once, and signs after `SIGNS_AFTER_SECONDS`."""
    # Names sort by age: the newest that may sign does.
    kid = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"
    private_key = generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    # The public half first: no service may ever meet a token whose key it cannot find.
    _write_atomically(
        keys_dir / f"{kid}{PUBLIC_SUFFIX}",
        private_key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        mode=0o644,
    )
    _write_atomically(
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
    """Take a key away; what it signed is refused within `KEYS_RELOAD_SECONDS`.

    Raises:
        OSError: the folder cannot be written.
    """
    # The private half first: nothing may be signed any more that nobody can verify.
    (keys_dir / f"{kid}.pem").unlink(missing_ok=True)
    (keys_dir / f"{kid}{PUBLIC_SUFFIX}").unlink(missing_ok=True)


def keys_in(keys_dir: Path) -> list[KeyFiles]:
    """Every key whose public half is there, the oldest first.

    Without that half a key is none: nobody could verify what it signs.
    """
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
    """The newest key that every verifier has seen; the oldest if all are too new.

    Where all are new, as in a container that has just been given them, an older key signs for a
    while, and nobody is harmed.

    Args:
        keys: the oldest first.
        now: Unix seconds.
    """
    able = [key for key in keys if key.can_sign]
    seen_by_all = [key for key in able if key.placed_at <= now - SIGNS_AFTER_SECONDS]
    return (seen_by_all[-1] if seen_by_all else able[0]).kid if able else None


def load_signing_key(keys_dir: Path, known: SigningKey | None = None) -> SigningKey:
    """The key that signs now.

    Args:
        keys_dir: the folder of keys.
        known: a key read before; it is given back if it still signs, for reading one takes 50 ms.

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
    """Every public key, by its id. A file that cannot be read does not keep the others from use."""
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
    """The public keys as a JWK Set (RFC 7517)."""
    return {
        "keys": [
            {
                "kty": "RSA",
                "use": "sig",
                "alg": "RS256",
                "kid": kid,
                "n": _base64url_uint(key.public_numbers().n),
                "e": _base64url_uint(key.public_numbers().e),
            }
            for kid, key in public_keys.items()
        ]
    }


def _can_sign(keys_dir: Path) -> bool:
    return any(key.can_sign for key in keys_in(keys_dir))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock that ends with the process; the folder itself is locked, so no file is left."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
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


def _write_atomically(path: Path, content: bytes, *, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    temporary.rename(path)


def _base64url_uint(number: int) -> str:
    octets = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
