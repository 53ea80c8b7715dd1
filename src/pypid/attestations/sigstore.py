"""Verification of attestations' signatures by `pypi_attestations` and `sigstore`. Only
`pypid.attestations.verification` imports this.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from importlib.resources import as_file, files
from pathlib import Path
from urllib.parse import quote

from cryptography import x509
from pypi_attestations import Attestation
from sigstore.dsse import Statement
from sigstore.errors import CertValidationError, Error
from sigstore.models import Bundle, TrustedRoot
from sigstore.verify import Verifier

from pypid.core.accounts.provenance import (
    KINDS,
    AttestationSubject,
    CertificateClaim,
    Publisher,
    Signed,
    check_statement,
    publisher_of,
)
from pypid.core.errors import shortened

PUBLIC = "https://tuf-repo-cdn.sigstore.dev"
"""The public Sigstore, by the address of its keys; the library has its trusted root."""

IN_TOTO = "application/vnd.in-toto+json"


class _Anybody:
    """The policy of `Sigstore.verify`: any identity, since the identity is the result."""

    def verify(self, cert: x509.Certificate) -> None:
        """Accept any certificate."""


class Sigstore:
    """The verifier against trusted roots: Fulcio's certificates and the keys of the logs. An
    attestation is valid if it is by the root of the library, or by `trusted_root`.

    The library's is as old as its release: when Sigstore has changed its keys, the library must be
    upgraded. Fetching new ones by TUF would take too long during an upload. Raises `OSError`,
    `ValueError` where the root is unreadable.
    """

    def __init__(self, trusted_root: Path | None = None) -> None:
        shipped = files("sigstore") / "_store" / quote(PUBLIC, safe="") / "trusted_root.json"
        try:
            with as_file(shipped) as path:
                roots = [path] if trusted_root is None else [path, trusted_root]
                self._verifiers = [
                    Verifier(trusted_root=TrustedRoot.from_file(str(root))) for root in roots
                ]
        except Error as error:
            raise ValueError(f"the trusted root of Sigstore cannot be used: {error}") from error

    def verify(self, attestation: bytes, about: AttestationSubject) -> Signed:
        """Return who signed the attestation. Raises `ValueError` if it is invalid, or not for this
        file.

        Verified are: the chain from the certificate to the trusted root at the time of signing,
        that the certificate was logged (SCT), that the signature was logged (inclusion proof,
        checkpoint and promise), the signature of the statement, and the content of the statement.
        Only what was verified is returned, without anything else that came with it.
        """
        try:
            model = Attestation.model_validate_json(attestation)
            kind, statement = self._verified(model.to_bundle())
            Statement(statement)  # what clients will read it with
        except CertValidationError as error:  # the library's text does not help the uploader
            raise ValueError(
                "its certificate was not issued by Sigstore, or was not valid when it was used"
            ) from error
        except (Error, ValueError) as error:
            raise ValueError(
                f"it cannot be verified: {shortened(' '.join(str(error).split()), 300)}"
            ) from error
        if kind != IN_TOTO:
            raise ValueError(f"it signs {kind}, not {IN_TOTO}")
        check_statement(statement, about)  # again, on the very bytes that were signed
        certificate = x509.load_der_x509_certificate(model.verification_material.certificate)
        return Signed(
            _publisher(model.certificate_claims, certificate), model.model_dump_json().encode()
        )

    def _verified(self, bundle: Bundle) -> tuple[str, bytes]:
        """Return the kind and the bytes that were signed. Raises what the last root leads to."""
        for verifier in self._verifiers[:-1]:
            with suppress(Error):
                return verifier.verify_dsse(bundle, _Anybody())
        return self._verifiers[-1].verify_dsse(bundle, _Anybody())


def _publisher(claimed: Mapping[str, str], certificate: x509.Certificate) -> Publisher:
    claims = {claim: claimed[claim.value] for claim in CertificateClaim if claim.value in claimed}
    publisher = publisher_of(claims, _email(certificate))
    if publisher is None:
        issuer = shortened(claims.get(CertificateClaim.ISSUER, "an unknown issuer"))
        raise ValueError(
            f"its certificate is for an identity of {issuer} that cannot be named here: only jobs "
            f"of {KINDS} can"
        )
    return publisher


def _email(certificate: x509.Certificate) -> str | None:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    return next(iter(names.get_values_for_type(x509.RFC822Name)), None)
