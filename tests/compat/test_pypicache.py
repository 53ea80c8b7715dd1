"""The addresses of pypicache: what its documentation said of them is still so."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from pypid.core.configuration.choices import Mode
from pypid.core.permissions import AUTHENTICATED, Rules
from pypid.core.policy import Policy
from tests.distributions import egg, egg_filename, sdist, sdist_filename, wheel, wheel_filename
from tests.web.full_app import RULES, Answer, Part, Pypid, WholeCase, content, spelled, text
from tests.web.memory_upstream import Elsewhere

UPLOADED = b'{"uploaded":"ok"}'
MISSING = b'{"error":true,"message":"Missing package data."}'
FORM = "multipart/form-data; boundary=x"


def as_sdist(filename: str, data: bytes) -> Part:
    """The part that ``curl -F sdist=@file`` sends."""
    return (f'name="sdist"; filename="{filename}"\r\nContent-Type: application/octet-stream', data)


class PypicacheCase(WholeCase):
    """What its tests share."""

    def post(self, *parts: Part, user: str | None = "alice", pypid: Pypid | None = None) -> Answer:
        """Send a form to /uploadpackage/."""
        return self.send_form(parts, target="/uploadpackage/", user=user, pypid=pypid)

    def put(
        self, path: str, data: bytes, user: str | None = "alice", pypid: Pypid | None = None
    ) -> Answer:
        """As ``curl -X PUT --data-binary @file``: that says it is a form, which it is not."""
        kind = ("Content-Type", "application/x-www-form-urlencoded")
        return (pypid or self.pypid).ask("PUT", path, kind, body=data, user=user)

    def stored(self, project: str) -> dict[str, str]:
        """The files on the project's page, with their hashes."""
        return {
            file["filename"]: file["hashes"]["sha256"] for file in self.pypid.page(project)["files"]
        }

    def check_ok(self, answer: Answer) -> None:
        """It is what pypicache answered to an upload."""
        self.assertEqual(
            (answer.status, answer.body, answer["content-type"]),
            (200, UPLOADED, "application/json"),
        )


class UploadTests(PypicacheCase):
    """``POST /uploadpackage/``."""

    def test_uploads(self) -> None:
        """An sdist in the part ``sdist`` is published, and so is a distribution of any other kind
        that comes there.
        """
        for filename, data in (
            (sdist_filename(), sdist()),
            (sdist_filename(suffix=".zip"), sdist(suffix=".zip")),
            (wheel_filename(), wheel()),
            (egg_filename(), egg()),
        ):
            self.check_ok(self.post(as_sdist(filename, data)))
            self.assertEqual(self.stored("spam")[filename], sha256(data).hexdigest())
            self.assertEqual(self.pypid.get(f"/packages/spam/{filename}").body, data)
        self.assertEqual(self.incoming(), [])

    def test_slashless(self) -> None:
        """The address works without its last slash, which POST could not be redirected to."""
        parts = [as_sdist(sdist_filename(), sdist())]
        self.check_ok(self.send_form(parts, target="/uploadpackage", user="alice"))

    def test_missing(self) -> None:
        """A form without a file, and what is no form, get pypicache's answer."""
        data = sdist()
        for parts in (
            [],
            [text("other", "x")],
            [text("sdist", "spam-1.0.tar.gz")],
            [('name="sdist"', data)],
            [as_sdist("", b"")],
            [content(sdist_filename(), data)],
        ):
            answer = self.post(*parts)
            self.assertEqual(
                (answer.status, answer.body, answer["content-type"]),
                (400, MISSING, "application/json"),
            )
        for headers in (
            (),
            (("Content-Type", "application/x-www-form-urlencoded"),),
            (("Content-Type", "text/plain"),),
        ):
            answer = self.pypid.ask(
                "POST", "/uploadpackage/", *headers, body=b"sdist=spam", user="alice"
            )
            self.assertEqual((answer.status, answer.body), (400, MISSING))
        self.assertEqual(self.pypid.names(), [])
        self.assertEqual(self.incoming(), [])

    def test_broken(self) -> None:
        """A form that is cut off, or says twice what it may say once, publishes nothing."""
        part = as_sdist(sdist_filename(), sdist())
        self.refused(self.post(part, part), 400, "two parts named 'sdist'")
        body = (
            b'--x\r\nContent-Disposition: form-data; name="sdist"; '
            b'filename="spam-1.0.tar.gz"\r\n\r\n'
        ) + sdist()
        answer = self.pypid.ask(
            "POST", "/uploadpackage/", ("Content-Type", FORM), body=body, user="alice"
        )
        self.refused(answer, 400, "cut off")
        self.assertEqual(self.pypid.names(), [])

    def test_checked(self) -> None:
        """The checks are those of every upload: the name, the archive, the metadata in it, and
        digests that were sent.
        """
        data = sdist()
        for parts, words in (
            ([as_sdist("spam.tar.gz", data)], "spam.tar.gz"),
            ([as_sdist("../spam-1.0.tar.gz", data)], "only letters"),
            ([as_sdist(sdist_filename(), b"not an archive")], "spam-1.0.tar.gz"),
            ([as_sdist(sdist_filename("other"), data)], "do not rename"),
            ([text("sha256_digest", "0" * 64), as_sdist(sdist_filename(), data)], "sha256_digest"),
        ):
            self.refused(self.post(*parts), 400, words)
        self.assertEqual(self.pypid.names(), [])
        self.check_ok(
            self.post(
                text("sha256_digest", sha256(data).hexdigest()), as_sdist(sdist_filename(), data)
            )
        )

    def test_again(self) -> None:
        """The same bytes again are fine, others are refused, even from somebody who may overwrite
        elsewhere.
        """
        rules = Rules(write=RULES.write, overwrite=AUTHENTICATED)
        pypid = self.pypid = Pypid(Path(self.mktemp()), rules=rules)
        first, other = sdist(), sdist(files={"more.txt": b"!"})
        self.check_ok(self.post(as_sdist(sdist_filename(), first)))
        page = pypid.page("spam")
        self.check_ok(self.post(as_sdist(sdist_filename(), first)))
        self.refused(self.post(as_sdist(sdist_filename(), other)), 400, "File already exists")
        self.refused(
            self.put("/packages/source/s/spam/spam-1.0.tar.gz", other), 400, "File already exists"
        )
        self.assertEqual(pypid.page("spam"), page)
        self.published(self.publish(sdist_filename(), other))
        self.assertEqual(self.stored("spam")[sdist_filename()], sha256(other).hexdigest())

    def test_rights(self) -> None:
        """Who may not publish is refused before the body has come."""
        for user, status in ((None, 401), ("bob", 403)):
            self.assertEqual(
                self.post(as_sdist(sdist_filename(), sdist()), user=user).status, status
            )
            connection = self.pypid.connect()
            fields = (("Content-Type", FORM), ("Content-Length", "1000000"))
            connection.send(spelled("POST", "/uploadpackage/", *fields, user=user))
            answer = connection.answer()
            assert answer is not None
            self.assertEqual(answer.status, status)
        self.assertEqual(self.pypid.names(), [])

    def test_another_site(self) -> None:
        """A browser that sends the form for a page of another site is refused."""
        answer = self.send_form(
            [as_sdist(sdist_filename(), sdist())],
            ("Origin", "https://evil.example"),
            target="/uploadpackage/",
        )
        self.refused(answer, 403, "another site")

    def test_too_large(self) -> None:
        """A file over [server] max_upload is refused: by what is announced, else when
        it has come.
        """
        pypid = Pypid(Path(self.mktemp()), max_upload=100)
        self.refused(
            self.post(as_sdist(sdist_filename(), bytes(200)), pypid=pypid), 413, "max_upload"
        )
        connection = pypid.connect()
        head = (("Content-Type", FORM), ("Content-Length", str(1 << 30)))
        connection.send(spelled("POST", "/uploadpackage/", *head, user="alice"))
        answer = connection.answer()
        assert answer is not None
        self.assertEqual(answer.status, 413)

    def test_errors_in_json(self) -> None:
        """Whoever asks for JSON gets other errors in JSON, with their ``message`` too."""
        parts = [as_sdist("spam.tar.gz", sdist())]
        answer = self.send_form(parts, ("Accept", "application/json"), target="/uploadpackage/")
        self.assertEqual(answer.status, 400)
        self.assertIn("spam.tar.gz", json.loads(answer.body)["message"])

    def test_wrong_method(self) -> None:
        """A browser is told what the address takes."""
        answer = self.pypid.get("/uploadpackage/")
        self.assertEqual((answer.status, answer["allow"]), (405, "POST"))


class PutTests(PypicacheCase):
    """``PUT
    /packages/source/<l>/<project>/<file>`` and ``/packages/<pyver>/<l>/<project>/<file>``.
    """

    def test_puts(self) -> None:
        """The body becomes the file, which is had again from there, from the page's link, and in
        parts.
        """
        for path, data in (
            ("source/s/spam/spam-1.0.tar.gz", sdist()),
            ("source/S/Spam/spam-1.1.zip", sdist(version="1.1", suffix=".zip")),
            ("3.6/s/spam/spam-1.0-py3.6.egg", egg()),
            ("py3/s/spam/spam-1.0-py3-none-any.whl", wheel()),
        ):
            filename = path.rpartition("/")[2]
            self.check_ok(self.put(f"/packages/{path}", data))
            self.assertEqual(self.stored("spam")[filename], sha256(data).hexdigest())
            for there in (f"/packages/{path}", f"/packages/spam/{filename}"):
                answer = self.pypid.get(there)
                self.assertEqual((answer.status, answer.body), (200, data), there)
                self.assertEqual(answer["content-type"], "application/octet-stream")
                part = self.pypid.ask("GET", there, ("Range", "bytes=3-7"))
                self.assertEqual((part.status, part.body), (206, data[3:8]))
                head = self.pypid.ask("HEAD", there)
                self.assertEqual((head.status, head["content-length"]), (200, str(len(data))))
        self.assertEqual(self.incoming(), [])

    def test_local_version(self) -> None:
        """A raw plus in the address is a plus, and so is %2B (C46)."""
        for version, spelling in (("1.0+a", "spam-1.0+a.tar.gz"), ("1.0+b", "spam-1.0%2Bb.tar.gz")):
            self.check_ok(self.put(f"/packages/source/s/spam/{spelling}", sdist(version=version)))
        self.assertEqual(set(self.stored("spam")), {"spam-1.0+a.tar.gz", "spam-1.0+b.tar.gz"})

    def test_wrong_address(self) -> None:
        """A letter, a project or a Python that is not the file's is refused before the body, with
        the right address.
        """
        for path in (
            "source/x/spam/spam-1.0.tar.gz",
            "source/sp/spam/spam-1.0.tar.gz",
            "source/s/spa/spam-1.0.tar.gz",
            "source/h/ham/spam-1.0.tar.gz",
            "3.6/s/spam/spam-1.0.tar.gz",
            "source/s/spam/spam-1.0-py3.6.egg",
            "3.7/s/spam/spam-1.0-py3.6.egg",
            "py2/s/spam/spam-1.0-py3-none-any.whl",
        ):
            connection = self.pypid.connect()
            connection.send(
                spelled("PUT", f"/packages/{path}", ("Content-Length", "1000000"), user="alice")
            )
            answer = connection.answer()
            assert answer is not None
            filename = path.rpartition("/")[2]
            self.refused(answer, 400, filename, "/s/spam/")
            right = answer.text.rpartition(" /packages/")[2].removesuffix(".\n")
            self.assertNotEqual(right, path)
            self.assertEqual(self.pypid.get(f"/packages/{path}").status, 404, path)
        self.assertEqual(self.pypid.names(), [])

    def test_told_address(self) -> None:
        """The address that a refusal names is the right one."""
        refused = self.put("/packages/x/y/z/spam-1.0.tar.gz", sdist())
        self.assertEqual(refused.status, 400)
        right = "/packages/" + refused.text.rpartition(" /packages/")[2].removesuffix(".\n")
        self.check_ok(self.put(right, sdist()))

    def test_egg_for_any_python(self) -> None:
        """An egg that does not say for which Python it is lies below any."""
        data = egg()
        self.check_ok(self.put("/packages/2.7/s/spam/spam-1.0.egg", data))
        self.assertEqual(self.pypid.get("/packages/3.1/s/spam/spam-1.0.egg").body, data)
        self.assertEqual(self.pypid.get("/packages/3.1/x/spam/spam-1.0.egg").status, 404)

    def test_bad_names(self) -> None:
        """What is no name of a distribution or a project is refused, and never 500."""
        for path, status in (
            ("source/s/spam/spam.tar.gz", 400),
            ("source/s/spam/spam-1.0.exe", 400),
            ("source/s/-x/spam-1.0.tar.gz", 400),
            ("source/s/spam/.metadata", 400),
            ("source/s/spam/spam-1.0.tar.gz.metadata", 400),
            ("source/s/spam/" + quote("späm-1.0.tar.gz"), 400),
            ("source/s/spam/" + quote("..%2fspam-1.0.tar.gz", safe="%"), 404),
            ("source/s/spam/" + "a" * 300 + "-1.0.tar.gz", 400),
            ("source/%FF/spam/spam-1.0.tar.gz", 400),
        ):
            self.assertEqual(self.put(f"/packages/{path}", sdist()).status, status, path)
            self.assertEqual(self.pypid.get(f"/packages/{path}").status, 404, path)
        self.assertEqual(self.pypid.names(), [])

    def test_checked(self) -> None:
        """The body is checked as every upload, and nothing is overwritten."""
        self.refused(self.put("/packages/source/s/spam/spam-1.0.tar.gz", b"not an archive"), 400)
        self.refused(self.put("/packages/source/s/spam/spam-1.0.tar.gz", b""), 400)
        self.refused(
            self.put("/packages/source/s/spam/spam-1.0.tar.gz", sdist("other")),
            400,
            "do not rename",
        )
        self.assertEqual(self.pypid.names(), [])
        self.check_ok(self.put("/packages/source/s/spam/spam-1.0.tar.gz", sdist()))
        self.check_ok(self.put("/packages/source/s/spam/spam-1.0.tar.gz", sdist()))
        self.refused(
            self.put("/packages/source/s/spam/spam-1.0.tar.gz", sdist(files={"x": b""})),
            400,
            "already exists",
        )

    def test_archived(self) -> None:
        """An archived project takes nothing by this way either (PEP 792)."""
        self.have_wheel()
        self.assertEqual(
            self.pypid.api("PUT", "/api/projects/spam/status", {"status": "archived"}).status, 200
        )
        self.refused(self.put("/packages/source/s/spam/spam-1.0.tar.gz", sdist()), 403, "archived")
        self.refused(self.post(as_sdist(sdist_filename(), sdist())), 403, "archived")

    def test_rights(self) -> None:
        """Who may not publish is refused."""
        for user, status in ((None, 401), ("bob", 403)):
            self.assertEqual(
                self.put("/packages/source/s/spam/spam-1.0.tar.gz", sdist(), user=user).status,
                status,
            )
        self.assertEqual(self.pypid.names(), [])

    def test_too_large(self) -> None:
        """A body over [server] max_upload is refused: by its length, and a chunked one when it has
        come.
        """
        pypid = Pypid(Path(self.mktemp()), max_upload=100)
        path = "/packages/source/s/spam/spam-1.0.tar.gz"
        self.refused(self.put(path, bytes(101), pypid=pypid), 413, "max_upload")
        chunked = b"C8\r\n" + bytes(200) + b"\r\n0\r\n\r\n"
        connection = pypid.connect()
        connection.send(
            spelled("PUT", path, ("Transfer-Encoding", "chunked"), user="alice") + chunked
        )
        answer = connection.answer()
        assert answer is not None
        self.refused(answer, 413, "max_upload")

    def test_chunked(self) -> None:
        """A body whose length nobody has announced is taken."""
        data = sdist()
        body = b"%X\r\n%s\r\n0\r\n\r\n" % (len(data), data)
        connection = self.pypid.connect()
        path = "/packages/source/s/spam/spam-1.0.tar.gz"
        connection.send(spelled("PUT", path, ("Transfer-Encoding", "chunked"), user="alice") + body)
        answer = connection.answer()
        assert answer is not None
        self.check_ok(answer)

    def test_cut_off(self) -> None:
        """A body that breaks off publishes nothing and leaves nothing."""
        data = sdist()
        connection = self.pypid.connect()
        head = spelled(
            "PUT",
            "/packages/source/s/spam/spam-1.0.tar.gz",
            ("Content-Length", str(len(data))),
            user="alice",
        )
        connection.send(head + data[:-1])
        connection.lose(ConnectionError())
        self.assertEqual(self.pypid.names(), [])
        self.assertEqual(self.incoming(), [])


class GetTests(PypicacheCase):
    """``GET`` of those addresses."""

    def test_beside(self) -> None:
        """What lies beside a file is there as well."""
        filename, _ = self.have_wheel()
        usual = self.pypid.get(f"/packages/spam/{filename}.metadata")
        answer = self.pypid.get(f"/packages/py3/s/spam/{filename}.metadata")
        self.assertEqual((answer.status, answer.body), (200, usual.body))

    def test_nothing(self) -> None:
        """What is not published is 404."""
        self.have_wheel()
        self.assertEqual(self.pypid.get("/packages/source/s/spam/spam-1.0.tar.gz").status, 404)
        self.assertEqual(self.pypid.get("/packages/source/h/ham/ham-1.0.tar.gz").status, 404)

    def test_theirs(self) -> None:
        """A file of theirs is fetched and kept by such an address as by that on the page; a wrong
        one is not told upstream.
        """
        filename, data = sdist_filename("ham"), sdist("ham")
        upstream = Elsewhere()
        upstream.has("ham", filename, data)
        pypid = Pypid(Path(self.mktemp()), policy=Policy(mode=Mode.CACHE), upstream=upstream)
        self.have(pypid.catalog.complete())
        for wrong in (
            f"source/x/ham/{filename}",
            f"source/s/spam/{filename}",
            f"py3/h/ham/{filename}",
            "source/h/ham/ham.exe",
        ):
            self.assertEqual(pypid.get(f"/packages/{wrong}").status, 404)
        self.assertEqual(upstream.heard, [])
        for _ in range(2):
            answer = pypid.get(f"/packages/source/h/ham/{filename}")
            self.assertEqual((answer.status, answer.body), (200, data))
        self.assertEqual(len(upstream.urls), 1)
        self.assertEqual(pypid.get(f"/local/ham/{filename}").body, data)
