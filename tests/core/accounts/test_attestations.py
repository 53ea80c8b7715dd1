"""Tests of `pypid.core.accounts.provenance`: which attestations are about the file that they came
with.
"""

from __future__ import annotations

import json
import time
from base64 import b64encode, encodebytes
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pypid.core.accounts.provenance import (
    Attestations,
    AttestationSubject,
    Predicate,
    check_statement,
    read_attestations,
)
from tests.sigstores import PUBLISH, SLSA, statement

WHEEL, SDIST = "spam-1.0-py3-none-any.whl", "spam-1.0.tar.gz"
DIGEST = "ab" * 32
ABOUT = AttestationSubject(WHEEL, DIGEST)


def attestation(about: bytes | dict[str, Any], **envelope: Any) -> dict[str, Any]:
    """An object that has the form of one; `envelope` replaces parts of it."""
    data = about if isinstance(about, bytes) else json.dumps(about).encode()
    said = {"statement": b64encode(data).decode(), "signature": "c2ln", **envelope}
    return {
        "version": 1,
        "verification_material": {"certificate": "MII=", "transparency_entries": [{}]},
        "envelope": said,
    }


def read(*attestations: object, about: AttestationSubject = ABOUT) -> Attestations:
    return read_attestations([json.dumps(attestations)], about)


class FormTests(SynchronousTestCase):
    def refused(self, attestation: object, word: str) -> None:
        came = read(attestation)
        self.assertEqual((came.objects, len(came.problems)), ((), 1))
        self.assertIn("attestation 1: ", came.problems[0])
        self.assertIn(word, came.problems[0])

    def test_right(self) -> None:
        """One of each kind is the most, and is enough."""
        both = read(
            attestation(statement(WHEEL, DIGEST, PUBLISH)),
            attestation(statement(WHEEL, DIGEST, SLSA)),
        )
        self.assertEqual((len(both.objects), both.problems), (2, ()))
        self.assertEqual(read_attestations([], ABOUT), Attestations())
        [problem] = read(*[attestation(statement(WHEEL, DIGEST))] * 2).problems
        self.assertIn(
            "several attestations of the kind https://docs.pypi.org/attestations/publish/v1",
            problem,
        )
        [problem] = read(*[{}] * 3).problems
        self.assertIn("a file can have 2", problem)

    def test_object(self) -> None:
        """What has not the form of an attestation object (PEP 740) is refused."""
        right = attestation(statement(WHEEL, DIGEST))
        for wrong in (
            None,
            1,
            [],
            {},
            {**right, "version": 2},
            {**right, "version": "1"},
            {**right, "envelope": None},
        ):
            self.refused(wrong, "not an attestation object of version 1")
        material = right["verification_material"]
        for entries in (None, {}, [1]):
            self.refused(
                {**right, "verification_material": {**material, "transparency_entries": entries}},
                "not an attest",
            )
        self.refused(
            {**right, "verification_material": {**material, "transparency_entries": []}},
            "transparency log",
        )
        self.refused(
            {**right, "verification_material": {**material, "certificate": "-----BEGIN"}},
            "certificate is not base64",
        )
        self.refused(attestation(b"", signature="c2ln!"), "signature is not base64")
        self.refused(attestation(b"", statement="e30"), "statement is not base64")

    def test_broken_lines(self) -> None:
        """Base64 in lines is read: what was signed with pydantic 2.9 has it."""
        lines = encodebytes(json.dumps(statement(WHEEL, DIGEST)).encode()).decode()
        self.assertIn("\n", lines)
        self.assertEqual(read(attestation(b"", statement=lines)).problems, ())

    def test_statement(self) -> None:
        """What is signed must be an in-toto statement v1 of a known kind, about
        exactly one file.
        """
        right = statement(WHEEL, DIGEST)
        for wrong in (b"", b"\xff", b"[]", b"{}", b"[" * 100_000):
            self.refused(attestation(wrong), "not an in-toto statement v1")
        self.refused(
            attestation({**right, "_type": "https://in-toto.io/Statement/v0.1"}),
            "not an in-toto statement v1",
        )
        self.refused(
            attestation({**right, "predicateType": PUBLISH + "/"}),
            "known here: https://docs.pypi.org",
        )
        self.refused(attestation({**right, "subject": []}), "about 0 files")
        self.refused(attestation({**right, "subject": right["subject"] * 2}), "about 2 files")
        self.refused(
            attestation({**right, "subject": [{"digest": {"sha256": DIGEST}}]}),
            "not an in-toto statement v1",
        )

    def test_other_file(self) -> None:
        """A statement about other bytes, or about a file of another name, is refused; both are
        told.
        """
        [problem] = read(attestation(statement(SDIST, "00" * 32, "x"))).problems
        for words in (f"not about '{WHEEL}'", "00" * 32, DIGEST, "its predicate type is 'x'"):
            self.assertIn(words, problem)
        self.refused(attestation(statement(WHEEL, DIGEST.upper())), "sha256")
        self.refused(
            attestation(
                {**statement(WHEEL, ""), "subject": [{"name": WHEEL, "digest": {"sha1": ""}}]}
            ),
            "digest none",
        )

    def test_spelling(self) -> None:
        """The subject may spell the file's name in another way, as far as clients that verify take
        it.
        """
        for subject in ("SPAM-1.0-py3-none-any.whl", "spam-1.0.0-py3-none-any.whl"):
            self.assertEqual(
                check_statement(json.dumps(statement(subject, DIGEST)).encode(), ABOUT),
                Predicate.PUBLISH,
            )
        for subject in (
            "spam-1.0-py2-none-any.whl",
            "spam-1.0-1-py3-none-any.whl",
            "",
            "../" + WHEEL,
            WHEEL + "\n",
        ):
            self.refused(attestation(statement(subject, DIGEST)), "not about")

    def test_long_name(self) -> None:
        """A name with thousands of tags for each part of a wheel's name is refused at once: it
        stands for billions of combinations.
        """
        tags = "-".join(".".join(f"{kind}{n}" for n in range(3000)) for kind in "abc")
        began = time.process_time()
        self.refused(attestation(statement(f"spam-1.0-{tags}.whl", DIGEST)), "not about")
        self.assertLess(time.process_time() - began, 1)

    def test_what_can_have_them(self) -> None:
        """Eggs, and sdists of other kinds than .tar.gz and .zip, have none: no client could verify
        them.
        """
        for filename, refused in (
            (SDIST, 0),
            ("spam-1.0.zip", 0),
            ("spam-1.0.tar.bz2", 1),
            ("spam-1.0-py3.6.egg", 1),
        ):
            came = read(
                attestation(statement(filename, DIGEST)), about=AttestationSubject(filename, DIGEST)
            )
            self.assertEqual(len(came.problems), refused, filename)
