"""Uploads over HTTP, point by point (C60 to C80 of docs/reference/conformance.rst)."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable
from hashlib import blake2b, md5, sha256

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost

from pypid.core.errors import StorageDown, StorageFull
from pypid.core.permissions import Principals, Rules
from pypid.core.records.layout import ObjectKind
from pypid.flow import at_once, spool
from pypid.web.app.app import INSPECTIONS
from tests.distributions import (
    egg,
    egg_filename,
    metadata,
    sdist,
    sdist_filename,
    wheel,
    wheel_filename,
)
from tests.web.full_app import (
    RULES,
    Answer,
    Connection,
    Pypid,
    WholeCase,
    content,
    form,
    spelled,
    text,
)
from tests.web.raw_http import chunked
from tests.web.uploaders import CLIENTS, Dist, Sent, distutils_of_old, pdm, twine_7, uv

TARGETS = ("/legacy/", "/legacy", "/", "/simple/", "/simple")
ATTESTATION = {
    "version": 1,
    "verification_material": {"certificate": "AA==", "transparency_entries": [{"logIndex": "1"}]},
    "envelope": {"statement": "e30=", "signature": "AA=="},
}


class UploadCase(WholeCase):
    """Uploads of one wheel and one sdist."""

    def setUp(self) -> None:
        """Make them."""
        super().setUp()
        self.wheel = Dist(wheel_filename(), wheel())
        self.sdist = Dist(sdist_filename(), sdist())

    def post(
        self,
        sent: Sent,
        target: str = "/legacy/",
        user: str | None = "alice",
        pypid: Pypid | None = None,
    ) -> Answer:
        kind = ("Content-Type", sent.content_type)
        return (pypid or self.pypid).ask(
            "POST", target, kind, *sent.headers, body=sent.body, user=user
        )

    def nothing_stored(self) -> None:
        """Neither the index nor the spool holds anything."""
        self.assertEqual((self.keys(), self.incoming(), self.pypid.names()), ([], [], []))


class ClientTests(UploadCase):
    """What each client sends is taken."""

    def test_clients(self) -> None:
        """Every client's form uploads a wheel and an sdist (C60, C61)."""
        for client, make in CLIENTS.items():
            pypid = Pypid(self.spool)
            for dist in (self.sdist, self.wheel):
                answer = self.post(make(dist), pypid=pypid)
                self.assertEqual((answer.status, client), (200, client), answer)
                self.assertEqual(
                    pypid.file_on("spam", dist.filename)["hashes"]["sha256"],
                    sha256(dist.data).hexdigest(),
                )
                self.assertEqual(pypid.get(f"/packages/spam/{dist.filename}").body, dist.data)
            self.assertEqual(self.incoming(), [])

    def test_addresses(self) -> None:
        """Forms are taken with and without a slash, and at the index's own addresses, never
        redirected (C60, C73).
        """
        for target in TARGETS:
            answer = self.post(twine_7(self.wheel), target, pypid=Pypid(self.spool))
            self.assertEqual((answer.status, answer["location"]), (200, None), target)

    def test_bare_lf(self) -> None:
        """A form of an old distutils, with bare LF, is refused with the cause and the way out
        (C62).
        """
        self.refused(self.post(distutils_of_old(self.sdist)), 400, "distutils", "twine")
        self.nothing_stored()

    def test_odd_forms(self) -> None:
        """A quoted boundary, one of dashes, a part without type, a query as action (C63)."""
        parts = [text("protocol_version", "1"), self.wheel.content()]
        for boundary, header in (
            ("a b/c=d:e", 'multipart/form-data; charset=utf-8; boundary="a b/c=d:e"'),
            ("----=_Part_1", "Multipart/Form-Data;BOUNDARY=----=_Part_1"),
            ("-" * 30, f"multipart/form-data; boundary={'-' * 30}"),
            ("x" * 70, f"multipart/form-data; boundary={'x' * 70}"),
        ):
            sent = Sent(form(parts, boundary), header)
            for target in ("/legacy/?:action=file_upload", "/legacy/?%3Aaction=file_upload"):
                self.assertEqual(
                    self.post(sent, target, pypid=Pypid(self.spool)).status, 200, header
                )

    def test_attestations_after_the_file(self) -> None:
        """Attestations are read behind the file, where uv sends them, and before it, where twine
        does (C63, C79).
        """
        for make in (uv, twine_7):
            answer = self.post(make(self.wheel, text("attestations", '[{"version": 99}]')))
            self.assertIn("attestations", answer.text)
            self.assertEqual(answer.status, 400)
        self.nothing_stored()

    def test_chunked(self) -> None:
        """A body without a length comes in chunks (C63)."""
        sent = twine_7(self.wheel)
        connection = self.pypid.connect()
        fields = (("Transfer-Encoding", "chunked"), ("Content-Type", sent.content_type))
        connection.send(
            spelled("POST", "/legacy/", *fields, user="alice") + chunked(sent.body, 1000)
        )
        answer = connection.answer()
        assert answer is not None
        self.published(answer)

    def test_expect_continue(self) -> None:
        """A client that asks first is told to go on, once it may (C63); one that may not is refused
        at once.
        """
        sent = twine_7(self.wheel)
        fields = (
            ("Expect", "100-continue"),
            ("Content-Type", sent.content_type),
            ("Content-Length", str(len(sent.body))),
        )
        connection = self.pypid.connect()
        connection.send(spelled("POST", "/legacy/", *fields, user="alice"))
        self.assertEqual(connection.rest(), b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.send(sent.body)
        answer = connection.answer()
        assert answer is not None
        self.published(answer)
        stranger = self.pypid.connect()
        stranger.send(spelled("POST", "/legacy/", *fields))
        refused = stranger.answer()
        assert refused is not None
        self.assertEqual(refused.status, 401)

    def test_signature_is_ignored(self) -> None:
        """A signature that a client still sends, whatever it is, is ignored: twine's part, the two
        texts of pdm, and bytes that are none (C78).
        """
        armoured = "-----BEGIN PGP SIGNATURE-----\n\nx\n-----END PGP SIGNATURE-----\n"
        part = 'name="gpg_signature"; filename="x.asc"'
        forms = (
            pdm(self.wheel, armoured),
            twine_7(self.wheel, (part, armoured)),
            twine_7(self.wheel, (part, b"\xff\0")),
        )
        for sent in forms:
            self.published(self.post(sent))
            self.assertNotIn("gpg-sig", self.pypid.file_on("spam", self.wheel.filename))
            self.assertNotIn("gpg-sig", self.pypid.get("/simple/spam/").text)
            url = f"/packages/spam/{self.wheel.filename}.asc"
            self.assertEqual(self.pypid.get(url).status, 404)
            self.assertEqual([key for key in self.keys() if key.endswith(".asc")], [])


class AttestationTests(UploadCase):
    """PEP 740 over HTTP."""

    def test_garbage(self) -> None:
        """Attestations that are none are refused, with the file (C79)."""
        for garbage in (
            "{}",
            "[]",
            "[",
            "null",
            '["x"]',
            "[1]",
            '[{"version": 2}]',
            "[" * 100000,
            json.dumps([ATTESTATION] * 99),
        ):
            answer = self.publish(
                self.wheel.filename, self.wheel.data, text("attestations", garbage)
            )
            self.refused(answer, 400, "attestations")
        self.nothing_stored()


class DigestTests(UploadCase):
    """Digests of the form."""

    def test_wrong(self) -> None:
        """Any wrong digest refuses the upload, and all wrong ones are told (C64)."""
        wrong = {"md5_digest": "0" * 32, "sha256_digest": "0" * 64, "blake2_256_digest": "0" * 64}
        for name, value in (
            *wrong.items(),
            ("sha256_digest", "nonsense"),
            ("md5_digest", "\u0661" * 32),
        ):
            self.refused(
                self.publish(self.wheel.filename, self.wheel.data, text(name, value)), 400, name
            )
        self.refused(
            self.publish(
                self.wheel.filename, self.wheel.data, *(text(*pair) for pair in wrong.items())
            ),
            400,
            *wrong,
        )
        true = text("sha256_digest", sha256(self.wheel.data).hexdigest())
        self.refused(
            self.publish(self.wheel.filename, self.wheel.data, true, text("md5_digest", "0" * 32)),
            400,
            "md5",
        )
        self.nothing_stored()

    def test_right(self) -> None:
        """None, some or all digests, in lower or upper case, are right (C64)."""
        data = self.wheel.data
        digests = [
            text("md5_digest", md5(data).hexdigest()),
            text("sha256_digest", sha256(data).hexdigest().upper()),
            text("blake2_256_digest", blake2b(data, digest_size=32).hexdigest().upper()),
        ]
        for some in ([], digests, digests[1:], digests[:1]):
            self.published(self.publish(self.wheel.filename, data, *some, pypid=Pypid(self.spool)))


class AgainTests(UploadCase):
    """The same file name once more."""

    def test_same_bytes(self) -> None:
        """The same bytes again are 200 and change nothing, whoever sends them (C65, C67)."""
        self.published(self.post(twine_7(self.wheel)))
        before, keys = self.pypid.page("spam"), self.keys()
        self.pypid.clock.advance(3600)
        for user in ("alice", "ada"):
            answer = self.post(twine_7(self.wheel), user=user)
            self.published(answer)
            self.assertIn("nothing was changed", answer.text)
        self.assertEqual(
            (self.pypid.page("spam"), self.keys(), self.incoming()), (before, keys, [])
        )

    def test_other_bytes(self) -> None:
        """Other bytes are 400, and reason and body begin so that every client knows
        it (C66, C67).
        """
        self.published(self.post(twine_7(self.wheel)))
        before, keys = self.pypid.page("spam"), self.keys()
        other = Dist(self.wheel.filename, wheel(files={"other.py": b""}))
        for user in ("alice", "ada"):
            answer = self.post(twine_7(other), user=user)
            self.assertEqual(answer.status, 400)
            self.assertTrue(answer.reason.startswith("File already exists"), answer.reason)
            self.assertTrue(answer.reason.endswith("publish again."), answer.reason)
            self.assertTrue(answer.text.startswith("File already exists"), answer.text)
            self.assertIn(blake2b(self.wheel.data, digest_size=32).hexdigest(), answer.text)
        json_answer = self.post(uv(other))
        self.assertTrue(json_answer.json["message"].startswith("File already exists"))
        self.assertEqual(
            (self.pypid.page("spam"), self.keys(), self.incoming()), (before, keys, [])
        )
        self.assertEqual(
            self.pypid.get(f"/packages/spam/{self.wheel.filename}").body, self.wheel.data
        )

    def test_seen_at_once(self) -> None:
        """The next request after an upload sees it, also one that revalidates what it has (C74)."""
        self.published(self.post(twine_7(self.wheel)))
        tag = self.pypid.get("/simple/spam/", None, ("Accept-Encoding", "gzip"))["etag"] or ""
        self.published(self.post(twine_7(self.sdist)))
        again = self.pypid.get(
            "/simple/spam/", None, ("Accept-Encoding", "gzip"), ("If-None-Match", tag)
        )
        self.assertEqual(again.status, 200)
        self.assertEqual(len(self.pypid.page("spam")["files"]), 2)

    def test_overwrite(self) -> None:
        """Who may overwrite replaces the file; page, bytes and metadata are the
        new ones, together.
        """
        rules = Rules(write=RULES.write, overwrite=Principals(users=frozenset({"alice"})))
        pypid = Pypid(self.spool, rules=rules)
        self.published(self.post(twine_7(self.wheel), pypid=pypid))
        old = pypid.file_on("spam", self.wheel.filename)
        for number in range(3):
            data = wheel(requires_python=f">=3.{number}", files={"spam.py": b"%d" % number})
            answer = self.publish(self.wheel.filename, data, pypid=pypid)
            self.published(answer)
            self.assertIn("instead of the older", answer.text)
            new = pypid.file_on("spam", self.wheel.filename)
            self.assertEqual(
                (new["hashes"]["sha256"], new["size"]), (sha256(data).hexdigest(), len(data))
            )
            self.assertEqual(new["requires-python"], f">=3.{number}")
            served = pypid.get(f"/packages/spam/{self.wheel.filename}")
            self.assertEqual((served.body, served["etag"]), (data, f'"{new["hashes"]["sha256"]}"'))
            beside = pypid.get(f"/packages/spam/{self.wheel.filename}.metadata")
            self.assertEqual(sha256(beside.body).hexdigest(), new["core-metadata"]["sha256"])
            stale = pypid.get(
                f"/packages/spam/{self.wheel.filename}",
                None,
                ("If-None-Match", f'"{old["hashes"]["sha256"]}"'),
            )
            self.assertEqual(stale.status, 200)
        self.refused(
            self.publish(self.wheel.filename, wheel(), user="ada", pypid=pypid),
            400,
            "File already exists",
        )
        keys = [key for key in self.have(_keys(pypid)) if not key.startswith(".pypid/")]
        self.assertEqual(len(keys), 4, keys)
        self.assertEqual(
            len([key for key in keys if key.endswith(ObjectKind.HISTORY.value)]), 1, keys
        )


class RefusalTests(UploadCase):
    """What is wrong with an upload is said."""

    def test_names(self) -> None:
        """File name, form and the metadata inside must agree (C68)."""
        for filename, data, parts in (
            ("other-1.0-py3-none-any.whl", self.wheel.data, ()),
            ("spam-2.0-py3-none-any.whl", self.wheel.data, ()),
            ("spam-2.0.tar.gz", self.sdist.data, ()),
            ("other-1.0.tar.gz", self.sdist.data, ()),
            (self.wheel.filename, self.wheel.data, (text("name", "other"),)),
            (self.wheel.filename, self.wheel.data, (text("version", "2.0"),)),
            (self.wheel.filename, self.wheel.data, (text("filetype", "sdist"),)),
            (self.wheel.filename, self.wheel.data, (text("filetype", ""),)),
            (self.wheel.filename, self.wheel.data, (text("name", ""),)),
            (self.wheel.filename, self.wheel.data, (text("version", ""),)),
            (self.wheel.filename, self.wheel.data, (text("metadata_version", "9.9"),)),
            (self.wheel.filename, self.wheel.data, (text("protocol_version", "2"),)),
            (self.sdist.filename, self.wheel.data, ()),
            (self.wheel.filename, self.sdist.data, ()),
            (self.wheel.filename, b"", ()),
            (self.wheel.filename, self.wheel.data[:-30], ()),
            (self.sdist.filename, self.sdist.data[:-30], ()),
            (self.wheel.filename, b"GIF89a" + self.wheel.data[6:], ()),
            (
                self.wheel.filename,
                wheel(metadata_bytes=b"Metadata-Version: 2.1\nName: spam\nVersion: 2.0\n"),
                (),
            ),
            (self.wheel.filename, wheel(metadata_bytes=b"\xff\xfe"), ()),
        ):
            self.refused(self.publish(filename, data, *parts), 400, "was not accepted")
            self.assertEqual(self.incoming(), [])
        self.nothing_stored()

    def test_file_names(self) -> None:
        """Names that could mean a path, or no distribution, are refused as they came (C68)."""
        for filename in (
            "../spam-1.0-py3-none-any.whl",
            "a/spam-1.0-py3-none-any.whl",
            "a\\spam-1.0-py3-none-any.whl",
            "..",
            "",
            " ",
            "spam-1.0-py3-none-any.whl\0",
            "\0spam-1.0-py3-none-any.whl",
            "spam-1.0-py3-none.whl",
            "spam-1.0-py3-none-any.whl.exe",
            "spam.exe",
            "spam-1.0.tar",
            "spam-1.0-py3-none-any.wheel",
            "spam-1.0-py3-none-any.WHL",
            "spam-x.y.tar.gz",
            "spam-1.0-py3-none-any.whl.metadata",
            "-1.0.tar.gz",
            "späm-1.0.tar.gz",
            "spam-1.0-py3-none-any" + "y" * 300 + ".whl",
            ".pypid",
            "project.json",
        ):
            self.refused(self.publish(filename, self.wheel.data), 400)
        self.nothing_stored()

    def test_no_file(self) -> None:
        """A form without a file, or with two, or whose file has no name, is refused (C68)."""
        start = [text(":action", "file_upload"), text("protocol_version", "1")]
        self.refused(self.send_form(start), 400, "content")
        self.refused(self.send_form([*start, ('name="content"', self.wheel.data)]), 400)
        self.refused(
            self.send_form([*start, self.wheel.content(), self.wheel.content()]), 400, "two"
        )
        self.nothing_stored()

    def test_metadata_versions(self) -> None:
        """Metadata 1.0 to 2.6 are taken, and later ones, and fields that nobody knows (C69)."""
        for number, version in enumerate(
            ("1.0", "1.1", "1.2", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "2.99")
        ):
            name = f"m{number}"
            inside = metadata(
                name,
                "1.0",
                metadata_version=version,
                extra=[("X-Unknown", "1"), ("Import-Name", name)],
            )
            self.published(
                self.publish(
                    sdist_filename(name), sdist(name, metadata_bytes=inside), text("x_unknown", "1")
                )
            )
            if version not in ("1.0", "1.1"):
                self.published(
                    self.publish(wheel_filename(name), wheel(name, metadata_bytes=inside))
                )

    def test_egg(self) -> None:
        """Eggs of old projects are taken (C68)."""
        self.published(self.publish(egg_filename(), egg(), text("filetype", "bdist_egg")))

    def test_error_bodies(self) -> None:
        """Reason and body carry the message; JSON is exactly application/json with code, title and
        message (C70).
        """
        wanted = (
            ("application/json", "application/json"),
            ("*/*", "text/plain; charset=utf-8"),
            ("text/html", "text/html; charset=utf-8"),
        )
        for accept, kind in wanted:
            answer = self.publish("späm.exe", b"x", headers=[("Accept", accept)])
            self.assertEqual((answer.status, answer["content-type"]), (400, kind))
            self.assertIn("was not accepted", answer.reason)
            self.assertIn("was not accepted", answer.text)
            self.assertEqual(answer["cache-control"], "no-store")
        document = self.publish(
            "spam.exe", b"x", headers=[("Accept", "application/json;q=0.9, text/plain;q=0.8")]
        ).json
        self.assertEqual(set(document), {"code", "title", "message", "help"})
        self.assertEqual(document["title"], "Bad Request")
        self.assertTrue(document["code"].startswith("400 "))

    def test_reason_is_one_line(self) -> None:
        """Whatever a client sends cannot put a line into the answer's head (C70)."""
        for filename in ("a\r\nX-Evil: 1.whl", "\u2028\u20ac\U0001f40d.whl", "x" * 400):
            answer = self.publish(filename.replace("\r\n", "%0D%0A"), b"x")
            self.assertEqual(answer.status, 400)
            self.assertIsNone(answer["x-evil"])
            self.assertLessEqual(len(answer.reason), 200)

    def test_get(self) -> None:
        """A browser, or pip, at the upload URL is 405 and is told what the address is for (C71)."""
        for target in ("/legacy/", "/legacy"):
            for method in ("GET", "HEAD"):
                answer = self.pypid.ask(method, target)
                self.assertEqual((answer.status, answer["allow"]), (405, "POST"))
        self.assertIn("/simple/", self.pypid.get("/legacy/").text)

    def test_actions(self) -> None:
        """Registering is 200, documentation 410, anything else 400 (C72)."""
        for action, status in (
            ("submit", 200),
            ("submit_pkg_info", 200),
            ("doc_upload", 410),
            ("verify", 400),
            ("", 400),
            ("FILE_UPLOAD", 400),
        ):
            self.assertEqual(
                self.send_form([text(":action", action), text("name", "spam")]).status,
                status,
                action,
            )
        register = ("Content-Type", "application/x-www-form-urlencoded")
        self.assertEqual(
            self.pypid.ask(
                "POST", "/legacy/", register, body=b"%3Aaction=submit&name=spam", user="alice"
            ).status,
            200,
        )
        self.nothing_stored()

    def test_not_a_form(self) -> None:
        """What is no form is 400 and says what an upload is (C63)."""
        for kind in (
            "text/plain",
            "application/json",
            "multipart/form-data",
            "multipart/mixed; boundary=x",
            "",
            "\xff",
        ):
            answer = self.pypid.ask(
                "POST", "/legacy/", ("Content-Type", kind), body=b"x" * 100, user="alice"
            )
            self.refused(answer, 400, "multipart/form-data")
        self.refused(self.pypid.ask("POST", "/legacy/", body=b"x", user="alice"), 400)
        self.refused(self.pypid.ask("POST", "/legacy/", user="alice"), 400)

    def test_too_large(self) -> None:
        """Over the limit is 413, which names the setting; announced or not (C77)."""
        pypid = Pypid(self.spool, max_upload=1000)
        filename, data = wheel_filename(), wheel(files={"x": b"x" * 5000}, compression=0)
        self.refused(self.publish(filename, data, pypid=pypid), 413, "max_upload")
        announced = pypid.connect()
        announced.send(
            spelled(
                "POST",
                "/legacy/",
                ("Content-Type", "multipart/form-data; boundary=x"),
                ("Content-Length", "9" * 15),
                user="alice",
            )
        )
        early = announced.answer()
        assert early is not None
        self.assertEqual(early.status, 413)
        body = form([text(":action", "file_upload"), content(filename, data)], "x")
        streamed = pypid.connect()
        fields = (
            ("Content-Type", "multipart/form-data; boundary=x"),
            ("Transfer-Encoding", "chunked"),
        )
        streamed.send(spelled("POST", "/legacy/", *fields, user="alice") + chunked(body, 700))
        answer = streamed.answer()
        assert answer is not None
        self.assertEqual(answer.status, 413)
        self.nothing_stored()

    def test_memory(self) -> None:
        """A large upload takes no memory: a few batches at a time, whatever its size (C77)."""
        size, piece = 48 << 20, bytes(1 << 18)
        first = form([text(":action", "file_upload")], "x").removesuffix(b"--\r\n")
        start = (
            first
            + b'\r\nContent-Disposition: form-data; name="content"; filename="spam-1.0.zip"\r\n\r\n'
        )
        end = b"\r\n--x--\r\n"
        fields = (
            ("Content-Type", "multipart/form-data; boundary=x"),
            ("Content-Length", str(len(start) + size + len(end))),
        )
        connection = self.pypid.connect()
        tracemalloc.start()
        try:
            connection.send(spelled("POST", "/legacy/", *fields, user="alice") + start)
            for _ in range(size // len(piece)):
                connection.send(piece)
            self.assertEqual(
                [path.stat().st_size > size - (8 << 20) for path in self.incoming()], [True]
            )
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        connection.send(end)
        answer = connection.answer()
        assert answer is not None
        self.refused(answer, 400, "was not accepted")
        self.assertLess(peak, 8 << 20)
        self.nothing_stored()

    def test_large_fields(self) -> None:
        """Fields without end are refused, READMEs are not (C77)."""
        self.refused(
            self.publish(
                self.wheel.filename, self.wheel.data, text("description", "x" * (9 << 20))
            ),
            400,
            "description",
        )
        self.published(
            self.publish(self.wheel.filename, self.wheel.data, text("description", "x" * (1 << 20)))
        )


class UnderWayTests(UploadCase):
    """Uploads that overlap, break off, or meet a full disk."""

    def begin(self, data: bytes, filename: str = "") -> tuple[Connection, bytes]:
        sent = twine_7(Dist(filename or self.wheel.filename, data))
        connection = self.pypid.connect()
        whole = spelled(
            "POST", "/legacy/", ("Content-Type", sent.content_type), body=sent.body, user="alice"
        )
        connection.send(whole[:-100])
        return connection, whole[-100:]

    def race(self, *bodies: bytes) -> list[Answer]:
        """The answers to uploads of one name that all are under way before the first one ends."""
        begun = [self.begin(data) for data in bodies]
        for connection, rest in begun:
            connection.send(rest)
        answers = [connection.answer() for connection, _ in begun]
        assert all(answer is not None for answer in answers)
        return answers

    def test_same_bytes_at_once(self) -> None:
        """Two clients that send the same bytes at once both succeed, and one file
        is there (C75).
        """
        self.assertEqual(
            [answer.status for answer in self.race(self.wheel.data, self.wheel.data)], [200, 200]
        )
        self.assertEqual(len(self.pypid.page("spam")["files"]), 1)

    def test_other_bytes_at_once(self) -> None:
        """Of two that send different bytes one succeeds, and its bytes are what is served (C75)."""
        other = wheel(files={"other.py": b""})
        self.assertEqual(
            sorted(answer.status for answer in self.race(self.wheel.data, other)), [200, 400]
        )
        page = self.pypid.file_on("spam", self.wheel.filename)
        served = self.pypid.get(f"/packages/spam/{self.wheel.filename}").body
        self.assertEqual(page["hashes"]["sha256"], sha256(served).hexdigest())
        self.assertIn(served, (self.wheel.data, other))

    def test_hostile_archives_at_once(self) -> None:
        """Archives that take minutes to look through take two threads and no more: the others go on
        serving.
        """
        gates: list[Deferred[None]] = []

        def blocking(call: Callable[..., object], *args: object) -> Deferred[object]:
            if getattr(call, "__name__", "") != "_checked":
                return at_once(call, *args)
            gates.append(Deferred())
            return gates[-1].addCallback(lambda _: call(*args))

        self.pypid.app.world = evolve(self.pypid.world, blocking=blocking)
        tags = [f"py3{minor}-none-any" for minor in range(6)]
        begun = [self.begin(wheel(tag=tag), wheel_filename(tag=tag)) for tag in tags]
        for connection, rest in begun:
            connection.send(rest)
        uploads = [connection for connection, _ in begun]
        self.assertEqual(len(gates), INSPECTIONS)
        for number, upload in enumerate(uploads):
            self.assertIsNone(upload.answer())
            gates[number].callback(None)
            answer = upload.answer()
            assert answer is not None
            self.assertEqual(answer.status, 200)
        self.assertEqual(len(self.pypid.page("spam")["files"]), len(uploads))

    def test_aborted(self) -> None:
        """A client that goes away in the middle leaves nothing, and can try again (C76)."""
        connection, _ = self.begin(self.wheel.data)
        connection.lose(ConnectionLost())
        self.nothing_stored()
        self.published(self.post(twine_7(self.wheel)))

    def test_silent(self) -> None:
        """One that falls silent is cut off, and leaves nothing (C76)."""
        connection, _ = self.begin(self.wheel.data)
        self.pypid.clock.pump([10.0] * 10)
        self.assertTrue(connection.socket.disconnecting)
        connection.lose(ConnectionLost())
        self.nothing_stored()

    def test_full_storage(self) -> None:
        """A full storage is 507, stores nothing, and takes the file when there is
        room again (C76).
        """
        self.pypid = Pypid(self.spool, capacity=len(self.wheel.data) // 2)
        self.refused(self.post(twine_7(self.wheel)), 507, "space", "Nothing was stored")
        self.nothing_stored()
        self.pypid.blobs._capacity = None
        self.published(self.post(twine_7(self.wheel)))

    def test_failure_at_each_write(self) -> None:
        """Whichever write fails, and however, nothing is listed or left, and a retry succeeds
        (C76).
        """
        self.published(self.post(twine_7(self.wheel)))
        written = [key for key in self.keys() if key.startswith("spam/")]
        self.assertEqual(len(written), 3)
        for doomed in written:
            for error, status in (
                (StorageFull("storage"), 507),
                (StorageDown("the disk is not there."), 503),
            ):
                self.pypid = Pypid(self.spool)
                self.pypid.blobs.failing = lambda key, doomed=doomed, error=error: (
                    error if key == doomed else None
                )
                self.assertEqual(self.post(twine_7(self.wheel)).status, status, doomed)
                self.nothing_stored()
                self.pypid.blobs.failing = lambda key: None
                self.published(self.post(twine_7(self.wheel)))
                self.assertEqual([key for key in self.keys() if key.startswith("spam/")], written)

    def test_full_spool(self) -> None:
        """A full disk for incoming files is 507 with advice, and leaves nothing (C76)."""
        path = self.spool / "incoming-full"
        path.touch()
        self.patch(spool, "_create", lambda folder: (os.open("/dev/full", os.O_WRONLY), path))
        self.refused(self.post(twine_7(self.wheel)), 507, "spool", "space")
        self.nothing_stored()

    def test_gone_spool(self) -> None:
        """A folder for incoming files that is gone is 503 with advice."""
        self.spool.rmdir()
        self.refused(self.post(twine_7(self.wheel)), 503, "incoming")
        self.spool.mkdir()
        self.published(self.post(twine_7(self.wheel)))


async def _keys(pypid: Pypid) -> list[str]:
    return [blob.key async for blob in pypid.blobs.list()]
