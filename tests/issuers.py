"""An OIDC issuer of our own: its keys, its documents, and identity tokens, good ones and every kind
of bad ones.

Sources: RFC 7515, 7517, 7519, "OpenID Connect Discovery 1.0". Signatures are made with
`cryptography` alone: what checks them is not asked to make them.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from hashlib import sha256
from hmac import digest as hmac
from typing import Any

from attrs import define, field, frozen
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

AUDIENCE = "pypid"
REPOSITORY = "octo/app"
_SIZES = {ec.SECP256R1: 32, ec.SECP384R1: 48, ec.SECP521R1: 66}
_CURVES = {ec.SECP256R1: "P-256", ec.SECP384R1: "P-384", ec.SECP521R1: "P-521"}
_HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


def b64(data: bytes) -> str:
    """base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def segment(document: object) -> str:
    """A part of a token."""
    return b64(json.dumps(document, separators=(",", ":")).encode())


def number(value: int) -> str:
    """A number of a JWK."""
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


@frozen
class Key:
    """A key pair and its name."""

    id: str
    private: Any = field(repr=False)

    def jwk(self, **more: Any) -> dict[str, Any]:
        """The public half; `more` replaces what it says."""
        public = self.private.public_key()
        match self.private:
            case rsa.RSAPrivateKey():
                numbers = public.public_numbers()
                said = {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
            case ec.EllipticCurvePrivateKey():
                size, numbers = _SIZES[type(self.private.curve)], public.public_numbers()
                said = {
                    "kty": "EC",
                    "crv": _CURVES[type(self.private.curve)],
                    "x": b64(numbers.x.to_bytes(size, "big")),
                    "y": b64(numbers.y.to_bytes(size, "big")),
                }
            case _:
                said = {
                    "kty": "OKP",
                    "crv": "Ed25519",
                    "x": b64(public.public_bytes(Encoding.Raw, PublicFormat.Raw)),
                }
        return {**said, "kid": self.id, "use": "sig", **more}

    def pem(self) -> bytes:
        """The public half, as it is published in text, which an attacker may send as a secret."""
        found: bytes = self.private.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )
        return found

    def sign(self, data: bytes, algorithm: str) -> bytes:
        """The signature, as JWS has it."""
        signature: bytes
        digest = _HASHES.get(algorithm[2:])
        match self.private:
            case rsa.RSAPrivateKey() if algorithm.startswith("PS"):
                assert digest is not None
                signature = self.private.sign(
                    data, padding.PSS(padding.MGF1(digest), digest.digest_size), digest
                )
            case rsa.RSAPrivateKey():
                assert digest is not None
                signature = self.private.sign(data, padding.PKCS1v15(), digest)
            case ec.EllipticCurvePrivateKey():
                assert digest is not None
                r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(digest)))
                size = _SIZES[type(self.private.curve)]
                signature = r.to_bytes(size, "big") + s.to_bytes(size, "big")
            case _:
                signature = self.private.sign(data)
        return signature


@cache
def rsa_key(id: str = "one", bits: int = 2048) -> Key:
    """The same for the same name, for they take a while to make."""
    return Key(id, rsa.generate_private_key(65537, bits))


@cache
def curve_key(id: str = "curve", curve: type[ec.EllipticCurve] = ec.SECP256R1) -> Key:
    """An elliptic curve's."""
    return Key(id, ec.generate_private_key(curve()))


@cache
def edwards_key(id: str = "edwards") -> Key:
    """An Edwards curve's."""
    return Key(id, ed25519.Ed25519PrivateKey.generate())


def jwt(
    header: Mapping[str, Any], claims: object, key: Key | None = None, secret: bytes | None = None
) -> str:
    """A token, signed with the key (or with the secret, HS256; or with nothing)."""
    signed = f"{segment(header)}.{segment(claims)}"
    if secret is not None:
        return f"{signed}.{b64(hmac(secret, signed.encode(), 'sha256'))}"
    return (
        f"{signed}.{b64(key.sign(signed.encode(), str(header['alg'])))}"
        if key is not None
        else f"{signed}."
    )


def github(
    repository: str = REPOSITORY, ref: str = "refs/heads/main", **more: Any
) -> dict[str, Any]:
    """What GitHub says of a job; `more` replaces it, None takes it away."""
    owner = repository.partition("/")[0]
    workflow = f"{repository}/.github/workflows/release.yml@{ref}"
    said = {
        "sub": f"repo:{repository}:ref:{ref}",
        "repository": repository,
        "repository_owner": owner,
        "repository_id": "74",
        "repository_owner_id": "65",
        "workflow_ref": workflow,
        "job_workflow_ref": workflow,
        "ref": ref,
        "sha": "c0ffee" * 6 + "c0ff",
        "run_id": "4711",
        "event_name": "push",
        **more,
    }
    return {name: value for name, value in said.items() if value is not None}


@define
class Documents:
    """What an issuer at `url` publishes, and tokens of its."""

    url: str
    keys: list[Key] = field(factory=lambda: [rsa_key()])
    count: int = 0

    def discovery(self, **more: Any) -> dict[str, Any]:
        """The discovery document."""
        algorithms = {
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["id_token"],
        }
        return {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/.well-known/jwks",
            **algorithms,
            **more,
        }

    def jwks(self) -> dict[str, Any]:
        """Its keys."""
        return {"keys": [key.jwk() for key in self.keys]}

    def claims(self, now: datetime, **more: Any) -> dict[str, Any]:
        """The claims of a good token that GitHub would make now; `more` replaces them, None takes
        one away.
        """
        self.count += 1
        said = {
            "iss": self.url,
            "aud": AUDIENCE,
            "jti": sha256(b"%d" % self.count).hexdigest(),
            "iat": int(now.timestamp()),
            "nbf": int((now - timedelta(seconds=10)).timestamp()),
            "exp": int((now + timedelta(minutes=5)).timestamp()),
            **github(),
            **more,
        }
        return {name: value for name, value in said.items() if value is not None}

    def token(
        self,
        now: datetime,
        header: Mapping[str, Any] | None = None,
        key: Key | None = None,
        **more: Any,
    ) -> str:
        """A token, signed with the key, or with the first there is; `header` replaces parts of its
        header.
        """
        signing = key or self.keys[0]
        said = {"typ": "JWT", "alg": "RS256", "kid": signing.id, **(header or {})}
        return jwt(
            {name: value for name, value in said.items() if value is not None},
            self.claims(now, **more),
            signing,
        )
