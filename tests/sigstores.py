"""A Sigstore of our own: a certificate authority, a certificate log and a signature log, which make
attestations by the rules.

Sources: RFC 6962 (signed certificate timestamps), Rekor's ``dsse`` entries v0.0.1, "Checkpoints" of
C2SP, PEP 740. Nothing here comes from the libraries that verify what it makes.
"""

from __future__ import annotations

import json
import struct
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

PUBLISH = "https://docs.pypi.org/attestations/publish/v1"
SLSA = "https://slsa.dev/provenance/v1"
WHEN = datetime(2026, 1, 1, tzinfo=UTC)
FULCIO = "1.3.6.1.4.1.57264.1."


@frozen
class Identity:
    """What a certificate says: the extensions of Fulcio by their last number, and a subject
    alternative name.
    """

    claims: Mapping[int, str]
    name: x509.GeneralName


def github(
    repository: str = "monty/spam", workflow: str = "release.yml", **claims: str
) -> Identity:
    """A job of GitHub Actions on a tag; ``c18="..."`` replaces a claim."""
    ref = "refs/tags/v1.0"
    config = f"https://github.com/{repository}/.github/workflows/{workflow}@{ref}"
    said = {
        8: "https://token.actions.githubusercontent.com",
        9: config,
        12: f"https://github.com/{repository}",
        13: "c0ffee" * 6,
        14: ref,
        18: config,
        **{int(number[1:]): value for number, value in claims.items()},
    }
    return Identity(said, x509.UniformResourceIdentifier(config))


def gitlab(repository: str = "monty/python/spam", path: str = "ci/release.yml") -> Identity:
    """A job of gitlab.com."""
    config = f"https://gitlab.com/{repository}//{path}@refs/heads/main"
    said = {
        8: "https://gitlab.com",
        12: f"https://gitlab.com/{repository}",
        13: "beef" * 10,
        14: "refs/heads/main",
        18: config,
    }
    return Identity(said, x509.UniformResourceIdentifier(config))


def google(email: str = "build@spam.iam.gserviceaccount.com") -> Identity:
    """A service account of Google Cloud."""
    issuer = "https://accounts.google.com"
    return Identity({1: issuer, 8: issuer}, x509.RFC822Name(email))


def circleci(origin: str = "github.com/monty/spam") -> Identity:
    """A job of CircleCI."""
    signer = "https://circleci.com/api/v2/projects/11-22/pipeline-definitions/33-44"
    said = {8: "https://oidc.circleci.com", 9: signer, 12: origin, 14: "refs/heads/main"}
    return Identity(said, x509.UniformResourceIdentifier(signer))


def statement(filename: str, digest: str, kind: str = PUBLISH, **other: Any) -> dict[str, Any]:
    """An in-toto statement about a file; `other` are further keys, or others' values."""
    subject = [{"name": filename, "digest": {"sha256": digest}}]
    form = "https://in-toto.io/Statement/v1"
    return {"_type": form, "subject": subject, "predicateType": kind, "predicate": None, **other}


def text_of(data: bytes) -> str:
    """Base64."""
    return b64encode(data).decode()


@define
class OwnSigstore:
    """All its keys; `trusted_root` is what verifiers have to be told of it."""

    authority: ec.EllipticCurvePrivateKey = field(
        factory=lambda: ec.generate_private_key(ec.SECP256R1()), repr=False
    )
    certificate_log: ec.EllipticCurvePrivateKey = field(
        factory=lambda: ec.generate_private_key(ec.SECP256R1()), repr=False
    )
    signature_log: ec.EllipticCurvePrivateKey = field(
        factory=lambda: ec.generate_private_key(ec.SECP256R1()), repr=False
    )

    def trusted_root(self, path: Path) -> Path:
        """Write the trusted root to `path`."""
        authority = text_of(self._authority().public_bytes(Encoding.DER))
        start = {"start": "2025-01-01T00:00:00Z"}
        document = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [self._log(self.signature_log)],
            "certificateAuthorities": [
                {
                    "subject": {"organization": "tests", "commonName": "own"},
                    "uri": "https://fulcio.example",
                    "certChain": {"certificates": [{"rawBytes": authority}]},
                    "validFor": start,
                }
            ],
            "ctlogs": [self._log(self.certificate_log)],
            "timestampAuthorities": [],
        }
        path.write_text(json.dumps(document))
        return path

    def attestation(
        self, about: dict[str, Any] | bytes, identity: Identity | None = None
    ) -> dict[str, Any]:
        """A right attestation of the statement `about` (bytes are signed as they are), as
        `identity` makes it.
        """
        payload = about if isinstance(about, bytes) else json.dumps(about).encode()
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self.certificate(key, identity or github())
        kind = b"application/vnd.in-toto+json"
        signature = _sign(key, b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload))
        return {
            "version": 1,
            "verification_material": {
                "certificate": text_of(certificate.public_bytes(Encoding.DER)),
                "transparency_entries": [self._entry(payload, signature, certificate)],
            },
            "envelope": {"statement": text_of(payload), "signature": text_of(signature)},
        }

    def certificate(self, key: ec.EllipticCurvePrivateKey, identity: Identity) -> x509.Certificate:
        """A certificate for ten minutes, with the proof that it was logged."""
        usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority.public_key())
        builder = (
            x509.CertificateBuilder(serial_number=x509.random_serial_number())
            .issuer_name(_NAME)
            .subject_name(x509.Name([]))
            .public_key(key.public_key())
            .not_valid_before(WHEN)
            .not_valid_after(WHEN + timedelta(minutes=10))
            .add_extension(usage, critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False
            )
            .add_extension(issuer, critical=False)
            .add_extension(x509.SubjectAlternativeName([identity.name]), critical=True)
        )
        for number, value in identity.claims.items():
            data = (
                value.encode() if number < 8 else _der(0x0C, value.encode())
            )  # the oldest are no DER
            claim = x509.UnrecognizedExtension(ObjectIdentifier(f"{FULCIO}{number}"), data)
            builder = builder.add_extension(claim, critical=False)
        logged = self._logged(builder.sign(self.authority, hashes.SHA256()))
        return builder.add_extension(logged, critical=False).sign(self.authority, hashes.SHA256())

    def _authority(self) -> x509.Certificate:
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        key = self.authority.public_key()
        return (
            x509.CertificateBuilder(
                _NAME, _NAME, key, 1, WHEN - timedelta(days=300), WHEN + timedelta(days=3000)
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .sign(self.authority, hashes.SHA256())
        )

    def _logged(self, before: x509.Certificate) -> x509.UnrecognizedExtension:
        """The signed certificate timestamp for a certificate that is like `before`, and has it (RFC
        6962, 3.2 and 3.3).
        """
        milliseconds = int(WHEN.timestamp() * 1000)
        tbs = before.tbs_certificate_bytes
        entry = _id(self.authority) + len(tbs).to_bytes(3, "big") + tbs
        signed = struct.pack("!BBQH", 0, 0, milliseconds, 1) + entry + b"\0\0"
        signature = _sign(self.certificate_log, signed)
        timestamp = (
            struct.pack(
                "!B32sQHBBH", 0, _id(self.certificate_log), milliseconds, 0, 4, 3, len(signature)
            )
            + signature
        )
        one = struct.pack("!H", len(timestamp)) + timestamp
        listed = _der(0x04, struct.pack("!H", len(one)) + one)
        return x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2"), listed)

    def _entry(
        self, payload: bytes, signature: bytes, certificate: x509.Certificate
    ) -> dict[str, Any]:
        """What the signature log says, whose only entry this is."""
        by = {
            "signature": text_of(signature),
            "verifier": text_of(certificate.public_bytes(Encoding.PEM)),
        }
        hashed = {"algorithm": "sha256", "value": sha256(payload).hexdigest()}
        body = {
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {"envelopeHash": hashed, "payloadHash": hashed, "signatures": [by]},
        }
        data = json.dumps(body).encode()
        log, root = _id(self.signature_log), sha256(b"\0" + data).digest()
        when = int(WHEN.timestamp()) + 60
        promise = {"body": text_of(data), "integratedTime": when, "logID": log.hex(), "logIndex": 0}
        note = f"rekor.example\n1\n{text_of(root)}\n"
        signed_note = text_of(log[:4] + _sign(self.signature_log, note.encode()))
        canonical = json.dumps(promise, separators=(",", ":"), sort_keys=True).encode()
        return {
            "logIndex": "0",
            "logId": {"keyId": text_of(log)},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(when),
            "inclusionPromise": {
                "signedEntryTimestamp": text_of(_sign(self.signature_log, canonical))
            },
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": text_of(root),
                "treeSize": "1",
                "hashes": [],
                "checkpoint": {"envelope": f"{note}\n\u2014 rekor.example {signed_note}\n"},
            },
            "canonicalizedBody": text_of(data),
        }

    def _log(self, key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
        start = {"start": "2025-01-01T00:00:00Z"}
        public = {
            "rawBytes": text_of(_public(key)),
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            "validFor": start,
        }
        identifier = {"keyId": text_of(_id(key))}
        return {
            "baseUrl": "https://log.example",
            "hashAlgorithm": "SHA2_256",
            "publicKey": public,
            "logId": identifier,
        }


_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "own-fulcio")])


def _sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


def _public(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _id(key: ec.EllipticCurvePrivateKey) -> bytes:
    return sha256(_public(key)).digest()


def _der(tag: int, value: bytes) -> bytes:
    """A DER value, shorter than 64 KiB."""
    size = len(value)
    length = (
        bytes([size])
        if size < 128
        else bytes([0x81, size])
        if size < 256
        else b"\x82" + size.to_bytes(2, "big")
    )
    return bytes([tag]) + length + value
