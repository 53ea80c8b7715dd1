"""The provenance of an upload (PEP 740): its attestations, verified by `pypi_attestations` where
that is installed.

No network is used, neither at start-up nor at an upload. The library takes 0.4 s and 45 MB to
import, so that is done when the first attestation comes, off the reactor thread.
"""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.logger import Logger

from pypid.core.accounts.attestations import AttestationSubject
from pypid.core.accounts.provenance import provenance_object
from pypid.core.errors import AttestationsRejected
from pypid.core.installation import install_hint
from pypid.core.model import Upload

if TYPE_CHECKING:
    from pypid.attestations.sigstore import Sigstore

_log = Logger()

ADVICE = (
    "sign with the public Sigstore, as the publishing jobs of GitHub and GitLab do, or upload "
    "without attestations."
)


@define(eq=False)
class Attesting:
    """The verifier of attestations. `trusted_root` is a file of Sigstore's; by default that of the
    installed library.
    """

    trusted_root: Path | None = None
    _sigstore: Sigstore | None = field(default=None, init=False, repr=False)
    _tried: bool = field(default=False, init=False, repr=False)
    _lock: Lock = field(factory=Lock, init=False, repr=False)

    def provenance(self, upload: Upload) -> bytes | None:
        """Return the provenance object to serve for the upload. Blocks.

        None where it has no attestations, or where they cannot be verified because the library is
        missing: then they must not be served. Raises `AttestationsRejected` with all errors of
        their signatures.
        """
        if not upload.attestations:
            return None
        sigstore = self._opened()
        if sigstore is None:
            return None
        about = AttestationSubject(upload.distribution.filename, upload.digests.sha256)
        signed, problems = [], []
        for number, attestation in enumerate(upload.attestations, 1):
            try:
                signed.append(sigstore.verify(attestation, about))
            except ValueError as error:
                problems.append(f"attestation {number}: {error}; {ADVICE}")
            except Exception as error:
                # The library was written for honest input; what makes it fail is refused, and
                # logged for the developers.
                _log.failure(
                    "pypi_attestations failed on an attestation of {filename}",
                    filename=about.filename,
                )
                problems.append(
                    f"attestation {number}: it cannot be verified ({type(error).__name__}); "
                    f"{ADVICE}"
                )
        if problems:
            raise AttestationsRejected(problems, about.filename)
        return provenance_object(signed)

    def _opened(self) -> Sigstore | None:
        """Return the verifier; None where it is unavailable, which is logged once."""
        with self._lock:
            if not self._tried:
                self._tried = True
                try:
                    from pypid.attestations.sigstore import Sigstore

                    self._sigstore = Sigstore(self.trusted_root)
                except (ImportError, OSError, ValueError) as error:
                    _log.warn(
                        "attestations came with an upload, and cannot be verified here: {error}. "
                        "The file and all later ones are published without them. Publishers can "
                        "turn attestations off, or an administrator can install the verification "
                        "and restart pypid. {hint}",
                        error=error,
                        hint=install_hint("attestations"),
                    )
            return self._sigstore
