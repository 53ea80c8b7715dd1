"""Tests of `pypid.attestations.verification` with the real library, against a Sigstore of our own:
what is verified, and what is not served.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st
from pypi_attestations import Provenance
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pypid.attestations.verification import Attesting
from pypid.core.errors import AttestationsRejected
from pypid.core.installation import install_hint
from pypid.core.model import Digests, Upload
from pypid.core.packaging.names import parse_filename
from tests.sigstores import (
    PUBLISH,
    SLSA,
    Identity,
    OwnSigstore,
    circleci,
    github,
    gitlab,
    google,
    statement,
    text_of,
)

WHEEL = "spam-1.0-py3-none-any.whl"
DIGEST = sha256(b"spam").hexdigest()
OWN = OwnSigstore()
RIGHT = OWN.attestation(statement(WHEEL, DIGEST))


def upload(*attestations: object) -> Upload:
    """An upload with these attestations."""
    objects = tuple(json.dumps(one).encode() for one in attestations)
    return Upload(
        distribution=parse_filename(WHEEL),
        version="1.0",
        digests=Digests(DIGEST, "", "", 4),
        attestations=objects,
    )


def reached(document: Any, *path: str | int) -> Any:
    for step in path:
        document = document[step]
    return document


def changed(*path: str | int, by: Callable[[Any], Any]) -> dict[str, Any]:
    """The right attestation, with one value in it changed."""
    one = copy.deepcopy(RIGHT)
    *before, last = path
    holder = reached(one, *before)
    holder[last] = by(holder[last])
    return one


def flipped(text: str) -> str:
    """Base64 of the same bytes, but for one bit of the last one but four."""
    data = bytearray(b64decode(text))
    data[-5] ^= 1
    return b64encode(data).decode()


ENTRY = ("verification_material", "transparency_entries", 0)


class AttestingCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.attesting = Attesting(OWN.trusted_root(Path(self.mktemp())))
        self.logged: list[LogEvent] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)

    def served(self, *attestations: object) -> Provenance:
        """The provenance object, as clients read it."""
        data = self.attesting.provenance(upload(*attestations))
        assert data is not None
        return Provenance.model_validate_json(data)

    def refused(self, attestation: object, *words: str) -> None:
        error = self.assertRaises(
            AttestationsRejected, self.attesting.provenance, upload(attestation)
        )
        self.assertTrue(
            str(error).startswith("Invalid attestations supplied during upload: attestation 1: "),
            str(error),
        )
        for word in words:
            self.assertIn(word, str(error))


class RightTests(AttestingCase):
    def test_publishers(self) -> None:
        """Each publisher that is named passes the policy by which clients verify, against the
        certificate it was read from.
        """
        for identity, kind in (
            (github(), "GitHub"),
            (gitlab(), "GitLab"),
            (google(), "Google"),
            (circleci(), "CircleCI"),
        ):
            [bundle] = self.served(
                OWN.attestation(statement(WHEEL, DIGEST), identity)
            ).attestation_bundles
            self.assertEqual(bundle.publisher.kind, kind)
            [attestation] = bundle.attestations
            certificate = x509.load_der_x509_certificate(
                attestation.verification_material.certificate
            )
            bundle.publisher._as_policy().verify(certificate)

    def test_bundles(self) -> None:
        """Two kinds by one publisher are in one bundle, with what was signed and nothing that was
        not.
        """
        other = {
            **OWN.attestation(statement(WHEEL, DIGEST, SLSA, predicate={"buildDefinition": {}})),
            "later": "<script>",
        }
        provenance = self.served(RIGHT, other)
        [bundle] = provenance.attestation_bundles
        self.assertEqual(
            [one.statement["predicateType"] for one in bundle.attestations], [PUBLISH, SLSA]
        )
        self.assertEqual(
            text_of(bundle.attestations[0].envelope.signature), RIGHT["envelope"]["signature"]
        )
        self.assertNotIn("script", provenance.model_dump_json())
        self.assertNotIn(b"script", self.attesting.provenance(upload(RIGHT, other)) or b"script")

    def test_two_publishers(self) -> None:
        """Attestations of two publishers are in two bundles."""
        other = OWN.attestation(statement(WHEEL, DIGEST, SLSA), gitlab())
        kinds = [bundle.publisher.kind for bundle in self.served(RIGHT, other).attestation_bundles]
        self.assertEqual(kinds, ["GitHub", "GitLab"])

    def test_none(self) -> None:
        """Without attestations there is no provenance object, and the library is not looked at."""
        attesting = Attesting(Path("nowhere"))
        self.assertIsNone(attesting.provenance(upload()))
        self.assertFalse(attesting._tried)


class RefusedTests(AttestingCase):
    def test_other_authority(self) -> None:
        """Certificates of another authority than the trusted one are refused, whatever they say
        (here: the public Sigstore).
        """
        self.refused(
            OwnSigstore().attestation(statement(WHEEL, DIGEST)),
            "not issued by Sigstore",
            "upload without attestations",
        )
        self.attesting = Attesting()
        self.refused(RIGHT, "not issued by Sigstore")

    def test_logs(self) -> None:
        """A certificate, or a signature, that was not logged where it has to be is refused."""
        for name in ("certificate_log", "signature_log"):
            keys = {
                key: getattr(OWN, key)
                for key in ("authority", "certificate_log", "signature_log")
                if key != name
            }
            self.refused(
                OwnSigstore(**keys).attestation(statement(WHEEL, DIGEST)), "cannot be verified"
            )

    def test_tampering(self) -> None:
        """A bit that was changed anywhere in what is signed is found."""
        for path in (
            ("envelope", "signature"),
            ("envelope", "statement"),
            ("verification_material", "certificate"),
            (*ENTRY, "canonicalizedBody"),
            (*ENTRY, "inclusionPromise", "signedEntryTimestamp"),
            (*ENTRY, "inclusionProof", "rootHash"),
        ):
            self.refused(changed(*path, by=flipped))
        self.refused(changed(*ENTRY, "integratedTime", by=lambda when: str(int(when) + 3600)))
        self.refused(changed(*ENTRY, "inclusionProof", by=lambda _: None))

    def test_transplants(self) -> None:
        """Parts of two right attestations do not make a third: neither another's signature,
        certificate nor log entry.
        """
        other = OWN.attestation(statement(WHEEL, DIGEST), gitlab())
        for path in (("envelope", "signature"), ("verification_material", "certificate"), ENTRY):
            self.refused(changed(*path, by=lambda _, path=path: reached(other, *path)))

    def test_other_file(self) -> None:
        """What was signed is compared with the file once more, so that two readers of one text
        cannot be played off.
        """
        self.refused(
            OWN.attestation(statement(WHEEL, "00" * 32)),
            "it is about a file with the sha256 digest 0000",
        )
        self.refused(
            OWN.attestation(statement("eggs-1.0-py3-none-any.whl", DIGEST)),
            "not about 'spam-1.0-py3",
        )
        self.refused(OWN.attestation(b"{}"), "malformed in-toto statement")
        strange = {
            **statement(WHEEL, DIGEST),
            "subject": [{"name": WHEEL, "digest": {"sha256": DIGEST, "strange": "1"}}],
        }
        self.refused(OWN.attestation(strange), "malformed in-toto statement")

    def test_nobody(self) -> None:
        """An identity that cannot be named is refused, with the issuer that it has."""
        self.refused(
            OWN.attestation(statement(WHEEL, DIGEST), github(c8="https://sso.example")),
            "https://sso.example",
            "GitHub",
        )
        self.refused(
            OWN.attestation(statement(WHEEL, DIGEST), Identity({}, google().name)),
            "an unknown issuer",
        )

    def test_all_at_once(self) -> None:
        """All bad attestations of an upload are told at once."""
        bad = changed("envelope", "signature", by=flipped)
        error = self.assertRaises(
            AttestationsRejected, self.attesting.provenance, upload(bad, RIGHT, {})
        )
        self.assertEqual(
            [problem[:13] for problem in error.problems], ["attestation 1", "attestation 3"]
        )

    def test_tripped(self) -> None:
        """Where the library itself breaks off, the attestation is refused, and the log has the
        traceback.
        """
        huge = changed(*ENTRY, "integratedTime", by=lambda _: str(1 << 63))
        self.refused(huge, "cannot be verified (")
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    leaves = (
        st.none()
        | st.integers()
        | st.text(max_size=5)
        | st.just("AAAA")
        | st.just([])
        | st.just({})
    )

    @settings(max_examples=60, deadline=None, database=None)
    @given(st.data())
    def test_any_value(self, data: st.DataObject) -> None:
        """Whatever stands in the place of a value, the attestation is refused, or what is served is
        what was signed.
        """
        one: Any = copy.deepcopy(RIGHT)
        holder: Any = one
        while True:
            step = data.draw(
                st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder)))
            )
            if (
                not holder[step]
                or not isinstance(holder[step], (dict, list))
                or data.draw(st.booleans())
            ):
                break
            holder = holder[step]
        holder[step] = data.draw(self.leaves)
        try:
            served = json.loads(self.attesting.provenance(upload(one)) or b"{}")
        except AttestationsRejected:
            self.flushLoggedErrors()
            return
        [bundle] = served["attestation_bundles"]
        self.assertEqual(bundle["attestations"][0]["envelope"], RIGHT["envelope"])


class WithoutTests(AttestingCase):
    def test_not_installed(self) -> None:
        """Without the library nothing is verified, so nothing is served; the log says once what to
        install.
        """
        for name in ("pypid.attestations.sigstore", "pypi_attestations"):
            self.addCleanup(sys.modules.__setitem__, name, sys.modules[name])
            sys.modules[name] = None  # type: ignore[assignment]
        self.assertEqual([self.attesting.provenance(upload(RIGHT)) for _ in range(2)], [None, None])
        [said] = [
            event
            for event in self.logged
            if event.get("log_namespace") == "pypid.attestations.verification"
        ]
        self.assertIn(install_hint("attestations"), formatEvent(said))

    def test_start(self) -> None:
        """Nobody who starts pypid waits for the library, or pays for it in memory."""
        code = (
            "import sys, pypid.wiring.recipe; sys.exit(str(sys.modules.keys() & "
            "{'pypi_attestations', 'sigstore', 'pydantic'}))"
        )
        ended = subprocess.run(
            [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
        self.assertEqual(ended.stderr.strip(), "set()")

    def test_bad_root(self) -> None:
        """Without a trusted root that can be read it is the same."""
        path = Path(self.mktemp())
        for text in (None, "", "{}", '{"mediaType": "x"}'):
            if text is not None:
                path.write_text(text)
            self.assertIsNone(Attesting(path).provenance(upload(RIGHT)), text)

    def test_public_root(self) -> None:
        """The trusted root of the public Sigstore is where we look for it, in the library."""
        self.assertIsNotNone(Attesting()._opened())
        self.assertEqual(
            [
                event
                for event in self.logged
                if event.get("log_namespace") == "pypid.attestations.verification"
            ],
            [],
        )
