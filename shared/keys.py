"""RSA key files: one folder, `<kid>.pem` to sign and `<kid>.pub.pem` to verify.

Rotation is by overlap: the newest key signs, every key in the folder verifies.
"""

import base64
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

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


@dataclass(frozen=True, slots=True)
class SigningKey:
    kid: str
    private_key: RSAPrivateKey


def ensure_signing_key(keys_dir: Path) -> None:
    """Make the first key where there is none; safe when several processes start at once.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    try:
        keys_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
        if not any(_private_files(keys_dir)):
            add_signing_key(keys_dir)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot make signing keys in {keys_dir}: {error.strerror}."
        ) from error


def add_signing_key(keys_dir: Path) -> str:
    """Add a key, which signs from now on, and return its id."""
    # Names sort by age: the newest signs.
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


def load_signing_key(keys_dir: Path) -> SigningKey:
    """The newest private key.

    Raises:
        ConfigurationError: there is none, or it cannot be read.
    """
    try:
        newest = max(_private_files(keys_dir), default=None)
        if newest is None:
            raise ConfigurationError(f"There is no signing key in {keys_dir}.")
        key = serialization.load_pem_private_key(newest.read_bytes(), password=None)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"Cannot read a signing key in {keys_dir}: {error}.") from error
    if not isinstance(key, RSAPrivateKey):
        raise ConfigurationError(f"The signing key {newest.name} is not an RSA key.")
    return SigningKey(newest.stem, key)


def load_public_keys(keys_dir: Path) -> dict[str, RSAPublicKey]:
    """Every public key, by its id."""
    keys = {}
    for file in sorted(keys_dir.glob(f"*{PUBLIC_SUFFIX}")):
        key = serialization.load_pem_public_key(file.read_bytes())
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


def _private_files(keys_dir: Path) -> list[Path]:
    return [file for file in keys_dir.glob("*.pem") if not file.name.endswith(PUBLIC_SUFFIX)]


def _write_atomically(path: Path, content: bytes, *, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    temporary.rename(path)


def _base64url_uint(number: int) -> str:
    octets = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
