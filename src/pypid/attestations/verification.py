"""Attestations (PEP 740), verified by `pypi_attestations` where that is installed: those of an
upload in this process, those of upstream indexes in a process of their own.

No network is used, neither at start-up nor at an upload. The library takes 0.4 s and 45 MB to
import, so that is done when the first attestation comes, off the reactor thread.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import msgspec
from attrs import define, field
from twisted.logger import Logger

from pypid.attestations.program import AttestedFile, Question
from pypid.core.accounts.provenance import AttestationSubject, provenance_object
from pypid.core.errors import AttestationsRejected, Busy
from pypid.core.installation import install_hint
from pypid.core.model import Upload
from pypid.core.trust import PublisherVerdict
from pypid.flow.coroutines import child_environ, program_of

if TYPE_CHECKING:
    from pypid.attestations.sigstore import Sigstore

_log = Logger()

PROGRAM = "pypid.attestations.program"
TIMEOUT = 150.0
"""Seconds that a child process may take."""
ADVICE = (
    "sign with the public Sigstore, as the publishing jobs of GitHub and GitLab do, or upload "
    "without attestations."
)


@define(eq=False)
class Attesting:
    """The verifier of attestations. `trusted_root` is the file of a private Sigstore, which is
    trusted besides the public one.
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

    def verdicts(self, files: Sequence[AttestedFile]) -> Sequence[PublisherVerdict]:
        """Return the results of the verification of provenance objects, in their order. Blocks for
        half a second and more: a child process does it, which ends. Raises `Busy`.
        """
        root = None if self.trusted_root is None else str(self.trusted_root.absolute())
        try:
            ended = subprocess.run(
                program_of(PROGRAM),
                input=msgspec.json.encode(Question(list(files), root)),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=child_environ(),
                timeout=TIMEOUT,
                check=True,
            )
            found = msgspec.json.decode(ended.stdout, type=list[PublisherVerdict])
        except (OSError, subprocess.SubprocessError, msgspec.MsgspecError) as error:
            _log.error("the verification of attestations failed: {error}", error=error)
            raise Busy("Attestations cannot be verified now; the log has the reason.", 5) from error
        return found

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
