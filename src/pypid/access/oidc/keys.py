"""The keys of an issuer (JWKS, RFC 7517), and the check of a signature with them. Blocks: not for
the reactor thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import field, frozen

from pypid.core.accounts.identity_tokens import ALGORITHMS, UnverifiedToken, read_object, refused
from pypid.core.errors import shortened

MOST = 100
"""Keys of one issuer that are looked at; issuers have two to five."""
SHORTEST_RSA = 2048
"""Bits."""

_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}


@frozen
class IssuerKey:
    """One public key: its id, and the algorithms that it is for."""

    id: str | None
    algorithms: frozenset[str]
    public: Any = field(repr=False)


def read_keys(data: bytes) -> tuple[IssuerKey, ...]:
    """Return the keys of a JWKS that can verify signatures; all others are ignored. Raises
    `ValueError` if it is not a JWKS.
    """
    listed = read_object(data).get("keys")
    if not isinstance(listed, list):
        raise ValueError("there is no list of keys in it")
    return tuple(_keys(listed[:MOST]))


def _keys(listed: Sequence[object]) -> Iterator[IssuerKey]:
    for described in listed:
        if isinstance(described, dict):
            algorithms = _algorithms(described)
            public = _public(described, min(algorithms)) if algorithms else None
            if public is not None:
                name = described.get("kid")
                yield IssuerKey(name if isinstance(name, str) else None, algorithms, public)


def _algorithms(described: Mapping[str, Any]) -> frozenset[str]:
    """Return the algorithms of the key: by its kind, never by what a token says (RFC 8725, 3.1)."""
    if described.get("use", "sig") != "sig" or "d" in described:
        return frozenset()
    match described:
        case {"kty": "RSA"}:
            fit = _RSA
        case {"kty": "EC", "crv": str() as curve} if curve in _CURVES:
            fit = frozenset({_CURVES[curve]})
        case {"kty": "OKP", "crv": "Ed25519"}:
            fit = frozenset({"EdDSA"})
        case _:  # a symmetric key ("oct") is a secret, and no issuer's that publishes it
            fit = frozenset()
    declared = described.get("alg")
    return fit if declared is None else frozenset(name for name in fit if name == declared)


def _public(described: Mapping[str, Any], algorithm: str) -> Any:
    import jwt  # here, since most indexes have no issuer
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    try:
        public = jwt.PyJWK(dict(described), algorithm).key
    except (
        jwt.PyJWTError,
        ValueError,
        TypeError,
        AttributeError,
    ):  # what a damaged key raises depends on where it is damaged
        return None
    if isinstance(public, RSAPublicKey) and public.key_size < SHORTEST_RSA:
        return None
    if isinstance(public, EllipticCurvePublicKey) and _CURVES.get(described["crv"]) != algorithm:
        return None
    return public


def matching_keys(keys: Sequence[IssuerKey], token: UnverifiedToken) -> tuple[IssuerKey, ...]:
    """Return the keys that may have signed the token; if it names none, the only candidate there is
    (OIDC Core, 10.1).
    """
    suited = tuple(key for key in keys if token.algorithm in key.algorithms)
    if token.key_id is None:
        return suited if len(suited) == 1 else ()
    return tuple(key for key in suited if key.id == token.key_id)


def verified_claims(token: UnverifiedToken, keys: Sequence[IssuerKey]) -> dict[str, Any]:
    """Return the claims, if one of the keys has signed them. Raises `MintRefused`."""
    import jwt

    assert token.algorithm in ALGORITHMS
    checker = jwt.PyJWS(algorithms=[token.algorithm])
    for key in keys:
        try:
            payload = checker.decode_complete(
                token.token, key.public, algorithms=[token.algorithm]
            )["payload"]
            return read_object(payload)
        except (jwt.PyJWTError, ValueError):
            continue
    raise refused(
        f"The token's signature is not good: it was not made with the key "
        f"{shortened(str(token.key_id))!r} of the issuer."
    )
