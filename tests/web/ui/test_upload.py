"""Publishing in the page: one file in a form, by people in browsers, and by those who try what
they may not.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.accounts.registration import AccountSettings
from pypid.core.errors import StorageDown, StorageFull
from pypid.core.packaging.names import project_name
from pypid.core.permissions import AUTHENTICATED, EVERYONE, NOBODY, Grants, Principals, Rules
from pypid.flow.spool import PREFIX
from pypid.index import Index
from pypid.index.local import early_write
from pypid.index.local.early_write import EarlyWrite
from tests.distributions import sdist, sdist_filename, wheel, wheel_filename
from tests.web.app_with_registration import OURS, Registering, cookie_of
from tests.web.full_app import PASSWORDS, RULES, Answer, Part, basic, form, spelled, text

KIND = ("Content-Type", "multipart/form-data; boundary=limit")
AS_PAGE, AS_JSON = ("Accept", "text/html"), ("Accept", "application/json")
Header = tuple[str, str]


def file(
    filename: str, data: bytes, headers: str = "\r\nContent-Type: application/octet-stream"
) -> Part:
    """A file of the form, as a browser sends it."""
    return (f'name="file"; filename="{filename}"{headers}', data)


class UploadCase(SynchronousTestCase):
    """A pypid where alice may publish and has a browser."""

    rules = RULES

    def setUp(self) -> None:
        """alice is logged in."""
        self.begin(self.rules)

    def begin(self, rules: Rules) -> None:
        """Have a pypid with these rules."""
        self.spool = Path(self.mktemp())
        self.pypid = Registering(self.spool, AccountSettings(), rules=rules)
        self.cookie, self.token = self.log_in("alice")

    def log_in(self, user: str) -> tuple[Header, str]:
        """The cookie of a new session, and its token against CSRF."""
        answer = self.pypid.say("POST", "/api/session", {"user": user, "password": PASSWORDS[user]})
        return cookie_of(answer), answer.json["csrf_token"]

    def post(
        self,
        parts: Sequence[Part],
        *headers: Header,
        body: bytes | None = None,
        user: str | None = None,
    ) -> Answer:
        """The answer to this form."""
        sent = form(parts, "limit") if body is None else body
        accepts = () if any(name == "Accept" for name, _ in headers) else (AS_PAGE,)
        return self.pypid.ask("POST", "/upload", KIND, *accepts, *headers, body=sent, user=user)

    def send(self, *parts: Part, accept: Header = AS_JSON) -> Answer:
        """The answer to the form with these parts, as alice's browser sends it."""
        return self.post([text("csrf_token", self.token), *parts], self.cookie, OURS, accept)

    def succeeds(self, answer: Answer, outcome: str = "published") -> None:
        """The answer says that it is so."""
        self.assertEqual((answer.status, answer.json.get("outcome")), (200, outcome), answer.text)

    def fails(self, answer: Answer, status: int, words: str = "") -> None:
        """The answer is an error, with these words."""
        self.assertEqual(answer.status, status, answer.text)
        self.assertIn(words, answer.text)

    def listed(self, project: str = "spam") -> list[str]:
        """The files of a project; none where there is none."""
        answer = self.pypid.get(
            f"/simple/{project}/", "application/vnd.pypi.simple.v1+json", user="ada"
        )
        return [] if answer.status == 404 else [found["filename"] for found in answer.json["files"]]

    def nothing_left(self) -> None:
        """The spool is empty."""
        self.assertEqual(
            [path.name for path in self.spool.iterdir() if path.name.startswith(PREFIX)], []
        )

    def nothing_changed(self) -> None:
        """Nothing is published, stored, or written down as published."""
        self.nothing_left()
        self.assertEqual(self.pypid.names("ada"), [])
        self.assertEqual(
            [deed.what for deed in self.pypid.deeds() if deed.what == "project publish"], []
        )


PRIVATE_TO_ADMINS = Rules(write=NOBODY)
WHEEL, SDIST = (wheel_filename(), wheel()), (sdist_filename(), sdist())


class FormTests(UploadCase):
    """What comes of a form."""

    def test_page(self) -> None:
        """The page has a form that takes one file, whose first field is the session's token."""
        answer = self.pypid.get("/upload", "text/html", self.cookie)
        self.assertEqual(answer.status, 200)
        inside = answer.text.partition('id="upload"')[2].partition("</form>")[0]
        self.assertIn('enctype="multipart/form-data"', inside)
        first = inside.index("<input")
        self.assertEqual(
            inside.index(f'<input type="hidden" name="csrf_token" value="{self.token}">'), first
        )
        self.assertIn('name="file" required', inside)
        self.assertNotIn('name="overwrite"', inside)

    def test_published(self) -> None:
        """The page says what was published, with a link; to a script the same is told in JSON."""
        answer = self.send(file(*SDIST), accept=AS_PAGE)
        self.assertEqual(answer.status, 200)
        self.assertIn('<a href="./project/spam/1.0/">spam 1.0</a>', answer.text)
        answer = self.send(file(*WHEEL))
        self.assertEqual((answer.status, answer["content-type"]), (200, "application/json"))
        self.assertEqual(
            answer.json,
            {
                "filename": WHEEL[0],
                "outcome": "published",
                "words": "Published.",
                "project": "spam",
                "version": "1.0",
            },
        )
        self.assertEqual(self.listed(), [WHEEL[0], SDIST[0]])
        self.nothing_left()

    def test_refused(self) -> None:
        """A file that is refused has all its problems on the page, or in the error for a script."""
        bad = file(wheel_filename("spam", "2.0"), wheel("other", "3.0"))
        for accept in (AS_PAGE, AS_JSON):
            answer = self.send(bad, accept=accept)
            self.assertEqual(answer.status, 400)
            self.assertEqual(answer.text.count("do not rename distributions"), 2)
        self.fails(self.send(file("notes.pdf", b"x")), 400, "ends neither in .whl")
        self.fails(self.send(file(WHEEL[0], b"no archive")), 400, "not a zip archive")
        self.nothing_changed()

    def test_several(self) -> None:
        """A form with several files is refused, and says that one is sent at a time."""
        for accept in (AS_PAGE, AS_JSON):
            answer = self.send(file(*WHEEL), file(*SDIST), accept=accept)
            self.fails(answer, 400, "Upload one file at a time")
        self.nothing_changed()

    def test_audit(self) -> None:
        """It is written down as every upload is."""
        self.send(file(*WHEEL))
        self.send(file("notes.pdf", b"x"))
        self.pypid.ask(
            "POST",
            "/uploadpackage/",
            KIND,
            body=form([(f'name="sdist"; filename="{SDIST[0]}"', SDIST[1])], "limit"),
            user="alice",
        )
        by_page, by_address = [
            deed for deed in self.pypid.deeds() if deed.what == "project publish"
        ]
        self.assertEqual((by_page.who, by_page.subject), ("alice", f"spam/{WHEEL[0]}"))
        self.assertEqual(set(by_page.details), set(by_address.details))
        self.assertEqual(by_page.details["outcome"], "published")

    def test_again(self) -> None:
        """The same bytes again change nothing; other bytes of that name are refused."""
        other = wheel(files={"other.py": b"!"})
        self.succeeds(self.send(file(*WHEEL)))
        self.succeeds(self.send(file(*WHEEL)), "unchanged")
        self.fails(self.send(file(WHEEL[0], other)), 400, "File already exists")
        self.assertEqual(
            self.pypid.file_on("spam", WHEEL[0])["hashes"]["sha256"], sha256(WHEEL[1]).hexdigest()
        )

    def test_overwriting(self) -> None:
        """Who may overwrite does so by a box that is ticked, and by nothing else."""
        other = wheel(files={"other.py": b"!"})
        box = text("overwrite", "yes")
        self.begin(Rules(write=RULES.write, overwrite=AUTHENTICATED))
        self.assertIn('name="overwrite"', self.pypid.get("/upload", "text/html", self.cookie).text)
        self.send(file(*WHEEL))
        self.fails(self.send(file(WHEEL[0], other)), 400)
        self.succeeds(self.send(box, file(WHEEL[0], other)), "overwritten")
        self.begin(RULES)
        self.send(file(*WHEEL))
        self.fails(self.send(box, file(WHEEL[0], other)), 400)

    def test_no_file(self) -> None:
        """A form in which no file was chosen says so, and one that is none is 400."""
        for parts in ((), (file("", b""),), (text("file", "spam.whl"),)):
            answer = self.send(*parts, accept=AS_PAGE)
            self.assertEqual((answer.status, "No file was chosen" in answer.text), (400, True))
        kind = ("Content-Type", "application/x-www-form-urlencoded")
        for headers, status in (((), 403), ((("X-CSRF-Token", self.token),), 400)):
            answer = self.pypid.ask(
                "POST", "/upload", kind, self.cookie, AS_JSON, *headers, body=b"file=x"
            )
            self.assertEqual(answer.status, status)
        self.nothing_changed()

    def test_in_pieces(self) -> None:
        """However the network cuts the form, what comes of it is the same."""
        body = form([text("csrf_token", self.token), file(*WHEEL)], "limit")
        self.succeeds(self.post((), self.cookie, AS_JSON, body=body))

        @settings(max_examples=25, deadline=None, database=None)
        @given(cuts=st.lists(st.integers(1, len(body) - 1), max_size=6))
        def in_pieces(cuts: list[int]) -> None:
            connection = self.pypid.connect()
            connection.send(
                spelled(
                    "POST",
                    "/upload",
                    KIND,
                    self.cookie,
                    AS_JSON,
                    ("Content-Length", str(len(body))),
                )
            )
            for begin, end in pairwise(sorted({0, len(body), *cuts})):
                connection.send(body[begin:end])
            answer = connection.answer("POST")
            assert answer is not None
            self.succeeds(answer, "unchanged")
            connection.lose(ConnectionDone())

        in_pieces()


class ForgedTests(UploadCase):
    """Forms that alice has not sent."""

    def test_csrf(self) -> None:
        """Without the token, with a wrong one, another session's, or one behind the file it is 403,
        and nothing is stored.
        """
        _, another = self.log_in("bob")
        for parts in (
            [file(*WHEEL)],
            [text("csrf_token", ""), file(*WHEEL)],
            [text("csrf_token", "A" * 43), file(*WHEEL)],
            [text("csrf_token", another), file(*WHEEL)],
            [file(*WHEEL), text("csrf_token", self.token)],
            [text("csrf_token", another), text("csrf_token", self.token), file(*WHEEL)],
            [],
        ):
            for accept in (AS_PAGE, AS_JSON):
                answer = self.post(parts, self.cookie, OURS, accept)
                self.assertEqual(answer.status, 403, parts)
        for said in (another, "x", ""):
            answer = self.post([file(*WHEEL)], self.cookie, ("X-CSRF-Token", said), AS_JSON)
            self.assertEqual(answer.status, 403)
        self.nothing_changed()

    def test_csrf_in_the_header(self) -> None:
        """A script says the token in the header."""
        answer = self.post([file(*WHEEL)], self.cookie, ("X-CSRF-Token", self.token), AS_JSON)
        self.succeeds(answer)

    def test_refused_before_the_file(self) -> None:
        """A wrong token is refused while the file is still to come."""
        connection = self.pypid.connect()
        connection.send(
            spelled("POST", "/upload", KIND, self.cookie, AS_JSON, ("Content-Length", "1000000"))
        )
        connection.send(form([text("csrf_token", "wrong"), file(*WHEEL)], "limit")[:300])
        answer = connection.answer("POST")
        assert answer is not None
        self.assertEqual(answer.status, 403)
        connection.lose(ConnectionDone())
        self.nothing_changed()

    def test_ended_meanwhile(self) -> None:
        """Whose session ends, or who may publish no more, while a file is coming, does not publish
        it.
        """
        for change, status in (("logs out", 401), ("may publish no more", 403)):
            with self.subTest(change=change):
                self.begin(RULES)
                sent = form([text("csrf_token", self.token), file(*WHEEL)], "limit")
                connection = self.pypid.connect()
                length = ("Content-Length", str(len(sent)))
                connection.send(
                    spelled("POST", "/upload", KIND, self.cookie, OURS, AS_JSON, length)
                    + sent[:-60]
                )
                if change == "logs out":
                    self.pypid.say(
                        "DELETE", "/api/session", None, self.cookie, ("X-CSRF-Token", self.token)
                    )
                else:
                    self.pypid.app.rules = PRIVATE_TO_ADMINS
                connection.send(sent[-60:])
                answer = connection.answer("POST")
                assert answer is not None
                self.fails(answer, status)
                self.assertEqual(self.listed(), [])
                self.nothing_left()

    def test_another_site(self) -> None:
        """What a page of another site has a browser send is 403, by a session and by a password
        alike.
        """
        parts = [text("csrf_token", self.token), file(*WHEEL)]
        for origin in ("https://evil.example", "null", "http://index.example:81"):
            self.assertEqual(self.post(parts, self.cookie, ("Origin", origin)).status, 403)
            self.assertEqual(self.post(parts, ("Origin", origin), user="alice").status, 403)
        self.nothing_changed()

    def test_by_password(self) -> None:
        """Who sends a password or a token has no session, and needs no token of one."""
        self.succeeds(self.post([file(*WHEEL)], AS_JSON, user="alice"))
        again = self.post([file(*SDIST)], AS_JSON, basic("alice", "wrong"))
        self.assertEqual((again.status, self.listed()), (401, [WHEEL[0]]))


class RightsTests(UploadCase):
    """Who may publish what."""

    def test_without_the_right(self) -> None:
        """Who may not publish is refused before the file has come: a browser is sent to log in, all
        else is 401 or 403.
        """
        self.assertEqual(self.pypid.get("/upload", "text/html").status, 303)
        self.assertEqual(self.pypid.get("/upload").status, 401)
        cookie, token = self.log_in("bob")
        self.assertEqual(self.pypid.get("/upload", "text/html", cookie).status, 403)
        self.assertEqual(
            self.post([text("csrf_token", token), file(*WHEEL)], cookie, OURS).status, 403
        )
        self.assertEqual(self.post([file(*WHEEL)]).status, 401)
        self.assertEqual(
            self.post([file(*WHEEL)], ("Cookie", "pypid_session=" + "A" * 43)).status, 401
        )
        connection = self.pypid.connect()
        connection.send(spelled("POST", "/upload", KIND, cookie, ("Content-Length", "1000000")))
        answer = connection.answer("POST")
        assert answer is not None
        self.assertEqual(answer.status, 403)
        connection.lose(ConnectionDone())
        self.nothing_changed()

    def test_some_projects(self) -> None:
        """Who may publish only some projects sees the page, which names them, and is refused any
        other file.
        """
        alice = Principals(users=frozenset({"alice"}))
        own, others = Grants(alice, alice), Grants(EVERYONE, Principals(users=frozenset({"bob"})))
        self.begin(
            Rules(
                write=Principals(),
                projects={project_name("spam"): own, project_name("eggs"): others},
            )
        )
        page = self.pypid.get("/upload", "text/html", self.cookie).text
        self.assertIn('You can publish <a href="./project/spam/">spam</a>.', page)
        self.assertNotIn("eggs", page)
        self.succeeds(self.send(file(*WHEEL)))
        for other in ("eggs", "ham"):
            self.fails(self.send(file(wheel_filename(other), wheel(other))), 403)
        self.assertEqual(self.pypid.names("ada"), ["spam"])


class HostileTests(UploadCase):
    """Forms that no browser sends."""

    def test_names(self) -> None:
        """A file name that is none, or leads elsewhere, is refused, and shown as mere text."""
        names = (
            "../spam-1.0.tar.gz",
            "/etc/spam-1.0.tar.gz",
            "C:\\spam-1.0.tar.gz",
            ".spam-1.0.tar.gz",
            "spam-1.0.tar.gz\x00",
        )
        names += (
            "<script>alert(1)</script>-1.0.tar.gz",
            "spam-1.0.tar.gz/..",
            "a" * 300 + "-1.0.tar.gz",
            "spam‮-1.0.tar.gz",
        )
        for name in names:
            answer = self.send(file(name, sdist()), accept=AS_PAGE)
            self.assertEqual(answer.status, 400, name)
            self.assertNotIn("<script>alert", answer.text)
        answer = self.send(
            ('name="file"; filename="x"; filename*=UTF-8\'\'%2e%2e%2fspam-1.0.tar.gz', sdist())
        )
        self.fails(answer, 400)
        self.nothing_changed()

    def test_cut_off(self) -> None:
        """A body that ends in the file, or whose connection is lost in it, leaves nothing."""
        whole = form([text("csrf_token", self.token), file(*WHEEL)], "limit")
        self.fails(self.post((), self.cookie, AS_JSON, body=whole[:-60]), 400, "cut off")
        connection = self.pypid.connect()
        connection.send(
            spelled("POST", "/upload", KIND, self.cookie, ("Content-Length", str(len(whole))))
        )
        connection.send(whole[:-60])
        connection.lose(ConnectionDone())
        self.nothing_changed()

    def test_many_parts(self) -> None:
        """Of a form of ten thousand parts no more are read than a form may have."""
        answer = self.send(*[text("x", "y")] * 10_000)
        self.assertEqual((answer.status, "more than" in answer.text), (400, True))
        self.nothing_changed()

    def test_large_field(self) -> None:
        """A field that is no file is small."""
        for name in ("csrf_token", "other"):
            answer = self.post(
                [text("csrf_token", self.token), text(name, "x" * 2000), file(*WHEEL)],
                self.cookie,
                AS_JSON,
            )
            self.assertEqual((answer.status, "larger than" in answer.text), (400, True))
        self.nothing_changed()

    def test_broken_forms(self) -> None:
        """What is no form is 400, never 500."""
        token = form([text("csrf_token", self.token)], "limit")[:-11]
        for body in (
            b"",
            b"x",
            b"--limit",
            b"--limit--\r\n",
            b"--limit\r\n\r\n\r\n--limit--",
            b"--limit\r\nx\r\n\r\n",
            b"\n--limit\n",
        ):
            for whole in (body, token + body):
                answer = self.post((), self.cookie, AS_JSON, body=whole)
                self.assertIn(answer.status, (400, 403), whole)
        for kind in (
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "text/plain",
            "multipart/mixed; boundary=limit",
        ):
            headers = (("Content-Type", kind), self.cookie, AS_JSON, ("X-CSRF-Token", self.token))
            answer = self.pypid.ask("POST", "/upload", *headers, body=b"--limit--")
            self.assertEqual(answer.status, 400, kind)
        self.nothing_changed()

    def test_damaged(self) -> None:
        """Whatever is changed in a form on its way, the answer is never 500, and the spool is
        empty.
        """

        @settings(max_examples=40, deadline=None, database=None)
        @given(at=st.integers(0, 3000), gone=st.integers(0, 300), put=st.binary(max_size=40))
        def damaged(at: int, gone: int, put: bytes) -> None:
            whole = form(
                [text("csrf_token", self.token), file(*WHEEL)],
                "limit",
            )
            at = min(at, len(whole))
            answer = self.post((), self.cookie, AS_JSON, body=whole[:at] + put + whole[at + gone :])
            self.assertIn(answer.status, (200, 400, 403))
            self.nothing_left()

        damaged()


class TroubleTests(UploadCase):
    """What cannot be taken just now, or at all."""

    def test_too_large(self) -> None:
        """A file over [server] max_upload is 413."""
        self.pypid.app.settings = evolve(self.pypid.app.settings, max_upload=2000)
        self.fails(self.send(file(wheel_filename("big"), bytes(5000))), 413, "max_upload")
        self.assertEqual(
            self.send(file(wheel_filename("big"), bytes(5000)), accept=AS_PAGE).status, 413
        )
        connection = self.pypid.connect()
        connection.send(
            spelled("POST", "/upload", KIND, self.cookie, AS_JSON, ("Content-Length", str(1 << 40)))
        )
        answer_early = connection.answer("POST")
        assert answer_early is not None
        self.assertEqual(answer_early.status, 413)
        connection.lose(ConnectionDone())
        self.nothing_left()

    def test_no_space(self) -> None:
        """A storage without space, or one that is away, is told, and the file can be sent again."""
        for error, status in ((StorageFull("storage"), 507), (StorageDown("it is away"), 503)):
            self.pypid.blobs.failing = lambda key, error=error: (
                error if key.endswith(".whl") else None
            )  # type: ignore[misc]
            answer = self.send(file(*WHEEL), accept=AS_PAGE)
            self.assertEqual(answer.status, status)
            self.fails(self.send(file(*WHEEL)), status)
            self.assertEqual(self.listed(), [])
            self.nothing_left()
        self.pypid.blobs.failing = lambda key: None  # type: ignore[method-assign]
        self.succeeds(self.send(file(*WHEEL)))


class EarlyFormTests(FormTests):
    """The same form, whose file is written to the storage while it comes."""

    def setUp(self) -> None:
        """Write early whatever comes."""
        self.patch(early_write, "EARLIEST", 1)
        self.patch(Index, "early_write", lambda index, most: EarlyWrite(index.context, most))
        super().setUp()
