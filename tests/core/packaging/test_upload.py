"""Tests of `pypid.core.packaging.upload`: what forms of real clients look like, and what is
refused.
"""

from __future__ import annotations

import io
import json
from base64 import b64encode
from collections.abc import Mapping
from hashlib import blake2b, md5, sha256

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.archives.inspection import Inside, inspect
from pypid.core.errors import UploadRejected
from pypid.core.model import Digests, Upload
from pypid.core.packaging.names import parse_filename
from pypid.core.packaging.upload import (
    UploadFields,
    check,
    distribution_of,
    served_metadata,
)
from tests.distributions import (
    egg_filename,
    metadata,
    sdist_filename,
    wheel,
    wheel_filename,
)
from tests.sigstores import PUBLISH, statement

WHEEL = wheel_filename()
DATA = wheel()


def attestation(
    predicate: str = PUBLISH, filename: str = WHEEL, digest: str = sha256(DATA).hexdigest()
) -> dict[str, object]:
    """An attestation object whose signature is worth nothing."""
    about = b64encode(json.dumps(statement(filename, digest, predicate)).encode()).decode()
    material = {"certificate": "MII=", "transparency_entries": [{"logIndex": "1"}]}
    return {
        "version": 1,
        "verification_material": material,
        "envelope": {"statement": about, "signature": "c2ln"},
    }


def digests(data: bytes) -> Digests:
    return Digests(
        sha256(data).hexdigest(),
        md5(data).hexdigest(),
        blake2b(data, digest_size=32).hexdigest(),
        len(data),
    )


def form(
    fields: Mapping[str, str | tuple[str, ...]],
    data: bytes = DATA,
    filename: str | None = WHEEL,
) -> UploadFields:
    texts = {name: (value,) if isinstance(value, str) else value for name, value in fields.items()}
    return UploadFields(fields=texts, filename=filename, content_digests=digests(data))


def upload(
    fields: Mapping[str, str | tuple[str, ...]],
    data: bytes = DATA,
    filename: str = WHEEL,
) -> Upload:
    came = form(fields, data, filename)
    distribution = distribution_of(came)
    return check(came, distribution, inspect(io.BytesIO(data), distribution))


class UploadTests(SynchronousTestCase):
    def problems(
        self,
        fields: Mapping[str, str | tuple[str, ...]],
        data: bytes = DATA,
        filename: str = WHEEL,
    ) -> list[str]:
        error = self.assertRaises(UploadRejected, upload, fields, data, filename)
        self.assertEqual(error.filename, filename)
        return list(error.problems)

    def refused(
        self,
        fields: Mapping[str, str | tuple[str, ...]],
        *words: str,
        filename: str = WHEEL,
        data: bytes = DATA,
    ) -> None:
        problems = self.problems(fields, data, filename)
        self.assertEqual(len(problems), len(words), problems)
        for word, problem in zip(words, problems, strict=True):
            self.assertIn(word, problem)

    def test_fields_that_identify_the_file_may_not_be_empty(self) -> None:
        """An empty name, version or filetype, or one that says nothing in other fields, is not that
        of the file.
        """
        for nothing in ("", " ", "UNKNOWN", "None"):
            self.refused(
                {"name": nothing, "version": nothing, "filetype": nothing},
                "filetype",
                "name",
                "version",
            )
        self.refused({"name": ("spam", "")}, "not a valid project name")
        upload(
            {"name": "UNKNOWN", "version": "0"},
            wheel("unknown", "0"),
            wheel_filename("unknown", "0"),
        )

    def test_unknown_metadata_version_in_the_form_is_refused(self) -> None:
        """What is no version of core metadata is refused; another one than the file's is not,
        because flit and distutils send a fixed one.
        """
        for version in ("3.0", "0.9", "banana", "2.1.1", "-1"):
            self.refused({"metadata_version": version}, "metadata_version")
        for version in ("1.0", "2.3", "2.99", ""):
            upload({"metadata_version": version})

    def test_form_and_archive_problems(self) -> None:
        """`check` tells the problems of the form and of the archive together."""
        came = form({"name": "eggs"})
        error = self.assertRaises(
            UploadRejected, check, came, parse_filename(WHEEL), Inside(None, ("bad archive.",))
        )
        self.assertEqual(len(error.problems), 2)
        self.assertRaises(UploadRejected, check, form({}), parse_filename(WHEEL), Inside())

    def test_served_metadata(self) -> None:
        """METADATA of wheels is served, PKG-INFO of sdists only where the build cannot change what
        is resolved by it.
        """
        source, binary, old = (
            parse_filename(name) for name in (sdist_filename(), WHEEL, egg_filename())
        )
        first = metadata(metadata_version="1.0")
        self.assertEqual(served_metadata(binary, first), first)
        self.assertIsNone(served_metadata(old, metadata(metadata_version="2.4")))
        for version, dynamic, served in (
            ("2.1", None, False),
            ("2.2", None, True),
            ("2.10", "License-File", True),
            ("2.4", "requires-DIST", False),
            ("2.4", "Requires-Python", False),
            ("2.4", "Provides-Extra", False),
            ("2.4", "Version", False),
        ):
            text = metadata(
                metadata_version=version, extra=[("Dynamic", dynamic)] if dynamic else []
            )
            self.assertEqual(served_metadata(source, text), text if served else None)

    names = st.sampled_from(
        [
            "name",
            "version",
            "filetype",
            "pyversion",
            "sha256_digest",
            "attestations",
            "requires_python",
            "summary",
            "protocol_version",
        ]
    )

    @settings(max_examples=50, deadline=None, database=None)
    @given(
        st.dictionaries(names, st.lists(st.text(st.characters()), max_size=3).map(tuple)),
        st.binary(),
    )
    def test_only_rejections(self, fields: dict[str, tuple[str, ...]], text: bytes) -> None:
        """Whatever is in the form, and whatever is found inside, nothing but `UploadRejected` is
        raised.
        """
        for filename in (WHEEL, sdist_filename(), egg_filename()):
            came = form(fields, filename=filename)
            for found in (text, metadata(), metadata() + text):
                try:
                    distribution_of(came)
                    check(came, parse_filename(filename), Inside(found))
                except UploadRejected as error:
                    self.assertTrue(error.problems and str(error))
