"""The program that verifies provenance objects of upstream indexes, in a process of its own:
`pypid.attestations.verification` runs it. The libraries take 45 MB, which the daemon does not
keep, and the objects come from outside.

It reads one `Question` as JSON, and writes one verdict for each file.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import msgspec

from pypid.core.accounts.provenance import AttestationSubject, attestations_in
from pypid.core.installation import install_hint
from pypid.core.trust import PublisherVerdict, publisher_text

MEMORY = 1 << 30
"""Bytes of address space."""
CPU = 120
"""Seconds of computing."""


class AttestedFile(msgspec.Struct, frozen=True):
    """A file and its provenance object."""

    filename: str
    sha256: str
    provenance: str


class Question(msgspec.Struct, frozen=True):
    """The files to verify, and the path of a private Sigstore's trusted root."""

    files: list[AttestedFile]
    trusted_root: str | None = None


def verdicts(question: Question) -> list[PublisherVerdict]:
    """Return the verdicts, in the order of the files."""
    from pypid.core.accounts.signers import claimed_publishers  # the daemon imports this module

    try:
        from pypid.attestations.sigstore import Sigstore

        root = None if question.trusted_root is None else Path(question.trusted_root)
        sigstore = Sigstore(root)
    except ImportError:
        problem = f"signatures cannot be verified. {install_hint('attestations')}"
        return [PublisherVerdict(problem=problem)] * len(question.files)
    except (OSError, ValueError) as error:
        return [PublisherVerdict(problem=f"signatures cannot be verified: {error}")] * len(
            question.files
        )

    def verdict(file: AttestedFile) -> PublisherVerdict:
        about, data = AttestationSubject(file.filename, file.sha256), file.provenance.encode()
        try:
            signed = [sigstore.verify(each, about) for each in attestations_in(data, about)]
        except ValueError as error:
            return PublisherVerdict(problem=str(error))
        except Exception as error:  # the library was written for honest input
            return PublisherVerdict(problem=f"it cannot be verified ({type(error).__name__})")
        publishers = tuple(dict.fromkeys(publisher_text(each.publisher) for each in signed))
        claimed = claimed_publishers(data)
        if not claimed.issubset(publishers):
            return PublisherVerdict(
                problem=f"it names {' and '.join(sorted(claimed))}, and was signed by "
                f"{' and '.join(publishers)}"
            )
        return PublisherVerdict(publishers)

    return [verdict(file) for file in question.files]


def main() -> None:
    """Answer the question on standard input."""
    for limit, most in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, CPU),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    question = msgspec.json.decode(sys.stdin.buffer.read(), type=Question)
    sys.stdout.buffer.write(msgspec.json.encode(verdicts(question)))


if __name__ == "__main__":
    main()
