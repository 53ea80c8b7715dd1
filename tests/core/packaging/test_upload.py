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
    FormAction,
    UploadFields,
    action_of,
    check,
    distribution_of,
    served_metadata,
)
from tests.distributions import (
    egg,
    egg_filename,
    metadata,
    sdist,
    sdist_filename,
    wheel,
    wheel_filename,
)
from tests.sigstores import PUBLISH, SLSA, statement

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

    def test_bare(self) -> None:
        """A form with nothing but the file is enough: the truth is inside it."""
        data = wheel(requires_python=">=3.9")
        came = upload({}, data)
        self.assertEqual((came.distribution, came.version), (parse_filename(WHEEL), "1.0"))
        self.assertEqual((came.requires_python, came.summary), (">=3.9", "Lovely spam"))
        self.assertEqual(
            (came.digests, came.metadata), (digests(data), metadata(requires_python=">=3.9"))
        )

    def test_digests(self) -> None:
        """Digests are right in upper case and with white space, and count for nothing when empty,
        UNKNOWN or None.
        """
        right = digests(DATA)
        upload(
            {
                "md5_digest": right.md5.upper(),
                "sha256_digest": f" {right.sha256}\n",
                "blake2_256_digest": right.blake2b_256,
            }
        )
        upload({"md5_digest": "", "sha256_digest": "UNKNOWN", "blake2_256_digest": "None"})
        upload(
            {"sha256_digest": right.sha256, "blake2_256_digest": blake2b(DATA).hexdigest()}
        )  # distutils of Python 3.11
        wrong = {"md5_digest": "0" * 32, "sha256_digest": right.md5, "blake2_256_digest": "x"}
        self.refused(wrong, "md5_digest", "sha256_digest", "blake2_256_digest")

    def test_every_client(self) -> None:
        """The oddities of twine, flit, hatch, pdm and three generations of distutils are all
        accepted.
        """
        upload(
            {
                "metadata_version": "2.3",
                "provides": "spam",
                "pyversion": "py3",
                "name": "Spam",
                "version": "1.0.0",
            }
        )
        upload(
            {
                "protcol_version": "1",
                "license": "UNKNOWN",
                "filetype": "bdist_wheel",
                "import_name": "spam",
            }
        )
        upload(
            {
                "home_page": "",
                "provides_extras": ("a", "b"),
                "summary": "None",
                "protocol_version": "1",
            },
        )
        data = sdist()
        for pyversion in ("", "source", "None"):
            upload({"pyversion": pyversion, "filetype": "sdist"}, data, sdist_filename())

    def test_form_contradicts(self) -> None:
        """All that contradicts the file name in the form is told at once, before the archive is
        opened.
        """
        wrong = {
            "name": "eggs",
            "version": ("2", "one"),
            "filetype": "sdist",
            "protocol_version": "2",
        }
        error = self.assertRaises(UploadRejected, distribution_of, form(wrong))
        self.assertEqual(len(error.problems), 5)
        self.refused({"name": "-"}, "not a valid project name")
        self.refused({"pyversion": "3.6"}, "'source'", filename=sdist_filename(), data=sdist())
        self.refused({"filetype": "bdist_wheel"}, "bdist_egg", filename=egg_filename(), data=egg())

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

    def test_no_file(self) -> None:
        """A form without content, or with an impossible file name, is refused."""
        nothing = UploadFields(fields={}, filename=None, content_digests=None)
        self.assertIn("no file", str(self.assertRaises(UploadRejected, distribution_of, nothing)))
        for name in ("../spam-1.0.tar.gz", "spam.exe", "", "spam-1.0.tar.gz\0"):
            self.assertRaises(UploadRejected, distribution_of, form({}, filename=name))

    def test_inside_contradicts(self) -> None:
        """Metadata of another project and version than the file name says is refused, with both
        reasons.
        """
        self.refused(
            {},
            "of the project 'eggs'",
            "says version 2",
            data=sdist("eggs", "2"),
            filename=sdist_filename(),
        )
        upload({}, sdist("Spam", "1.0.0"), sdist_filename())

    def test_unreadable_requirements_are_refused(self) -> None:
        """A Requires-Dist that pip cannot read is refused where installers resolve by it, and
        accepted elsewhere.
        """
        bad = [
            ("Requires-Dist", text)
            for text in ("eggs>=1", "foo >= dog", "!odd", "ham (1.0)", "foo >= cat")
        ]
        static = sdist(metadata_version="2.2", extra=bad)
        for data, filename in ((wheel(extra=bad), WHEEL), (static, sdist_filename())):
            self.refused({}, "'foo >= dog'", "'!odd'", "'ham (1.0)'", data=data, filename=filename)
        for data, filename in (
            (sdist(extra=bad), sdist_filename()),
            (
                sdist(metadata_version="2.2", extra=[*bad, ("Dynamic", "Requires-Dist")]),
                sdist_filename(),
            ),
            (egg(metadata_bytes=metadata(extra=bad)), egg_filename()),
        ):
            upload({}, data, filename)

    def test_readable_requirements_are_accepted(self) -> None:
        """Whatever the specification of dependencies allows is accepted, and so are
        many of them.
        """
        good = ("eggs", "eggs (>=1.0)", "Eggs.Fried[hot,x]>=1,<2; python_version<'4'", "a @ https://a.example/b.whl", "UNKNOWN",
            "eggs ; extra == 'x'", "eggs==1.*", "eggs~=1.0 ; (os_name=='nt')")  # fmt: skip
        upload({}, wheel(extra=[("Requires-Dist", text) for text in good]))
        upload({}, wheel(extra=[("Requires-Dist", f"eggs{number}>=1") for number in range(5000)]))

    def test_form_and_archive_problems(self) -> None:
        """`check` tells the problems of the form and of the archive together."""
        came = form({"name": "eggs"})
        error = self.assertRaises(
            UploadRejected, check, came, parse_filename(WHEEL), Inside(None, ("bad archive.",))
        )
        self.assertEqual(len(error.problems), 2)
        self.assertRaises(UploadRejected, check, form({}), parse_filename(WHEEL), Inside())

    def test_fallbacks(self) -> None:
        """The form fills what the PKG-INFO of old tools does not have; a wheel's METADATA stands
        alone.
        """
        data = sdist(metadata_bytes=metadata(metadata_version="1.0", summary=None))
        came = upload(
            {"requires_python": ">=2.7", "summary": "From the form"}, data, sdist_filename()
        )
        self.assertEqual((came.requires_python, came.summary), (">=2.7", "From the form"))
        self.refused(
            {"requires_python": "some"},
            "not a version specifier",
            data=data,
            filename=sdist_filename(),
        )
        self.assertIsNone(upload({"requires_python": ">=2.7"}).requires_python)
        bare = wheel(metadata_bytes=metadata(summary=None))
        self.assertIsNone(upload({"summary": "From the form"}, bare).summary)
        self.assertEqual(upload({"summary": "Another"}).summary, "Lovely spam")

    def test_attestations(self) -> None:
        """Attestation objects about the file come out as they were sent (C79)."""
        text = json.dumps([attestation(), {**attestation(SLSA), "later": True}], indent=1)
        came = upload({"attestations": text}).attestations
        self.assertEqual([json.loads(one) for one in came], json.loads(text))
        self.assertEqual(upload({"attestations": ""}).attestations, ())
        spelled = attestation(filename="SPAM-1.0.0-py3-none-any.whl")
        self.assertEqual(len(upload({"attestations": json.dumps([spelled])}).attestations), 1)

    def test_bad_attestations(self) -> None:
        """What is no attestation object, or not about the file, is refused, in the words of the
        public index (C79).
        """
        for one in (
            "garbage",
            "{}",
            "[]",
            "[1]",
            "[{}]",
            "[" * 5000,
            "\udc80",
            json.dumps([{**attestation(), "version": 2}]),
        ):
            self.refused({"attestations": one}, "attestation")
            error = self.assertRaises(UploadRejected, upload, {"attestations": one})
            self.assertTrue(
                str(error).startswith("Invalid attestations supplied during upload: "), str(error)
            )
        wrong = json.dumps(
            [
                attestation(),
                attestation("https://example.com/v1", "eggs-1.0-py3-none-any.whl", "0" * 64),
            ]
        )
        [problem] = self.problems({"attestations": wrong})
        for word in (
            "attestation 2",
            "'eggs-1.0-py3-none-any.whl'",
            "0" * 64,
            "'https://example.com/v1'",
        ):
            self.assertIn(word, problem)
        error = self.assertRaises(UploadRejected, upload, {"attestations": wrong, "name": "eggs"})
        self.assertEqual(len(error.problems), 2)
        self.assertIn("Invalid attestations supplied during upload: attestation 2", str(error))
        self.refused({"attestations": ("[]", "[1]")}, "more than once")

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

    def test_actions(self) -> None:
        """:action comes in the form or in the query; the form counts more."""
        for said, action in (
            ("file_upload", FormAction.FILE_UPLOAD),
            ("submit", FormAction.SUBMIT),
            ("submit_pkg_info", FormAction.SUBMIT),
            ("doc_upload", FormAction.DOC_UPLOAD),
            ("dance", FormAction.UNKNOWN),
            ("", FormAction.UNKNOWN),
        ):
            self.assertIs(action_of(form({":action": said}), None), action)
            self.assertIs(action_of(form({}), said), action)
        self.assertIs(action_of(form({":action": "submit"}), "file_upload"), FormAction.SUBMIT)

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
