"""Publishing in the page: one file in a form, by people in browsers, and by those who try what
they may not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attrs import evolve
from twisted.internet.error import ConnectionDone
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.accounts.sessions import AccountSettings
from pypid.core.errors import StorageDown, StorageFull
from pypid.core.permissions import AUTHENTICATED, NOBODY, Rules
from pypid.flow.spool import PREFIX
from tests.distributions import sdist, sdist_filename, wheel, wheel_filename
from tests.web.app_with_registration import OURS, Registering, cookie_of
from tests.web.full_app import PASSWORDS, RULES, Answer, Part, form, spelled, text

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
