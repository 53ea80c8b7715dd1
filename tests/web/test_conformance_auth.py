"""Who may do what over HTTP, route by route, and what becomes of passwords (C90 to C95 of
docs/reference/conformance.rst).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.logger import LogEvent, eventAsText, globalLogPublisher

from pypid.core.permissions import ADMINS, AUTHENTICATED, EVERYONE, NOBODY, Principals, Rules
from tests.distributions import wheel, wheel_filename
from tests.web.full_app import HOST, PASSWORDS, PRIVATE, Pypid, WholeCase, basic, spelled
from tests.web.route_rights import CLASSES
from tests.web.test_matrix import target_of
from tests.web.uploaders import Dist, twine_7


class EarlyTests(WholeCase):
    """What is refused before it is looked at."""

    rules = PRIVATE

    def test_names_that_cannot_be(self) -> None:
        """A name that no project can have is 404 before anybody is asked, which tells nothing."""
        self.assertEqual(self.pypid.ask("GET", "/simple/-x/").status, 404)

    def test_refused_before_the_body(self) -> None:
        """An upload that may not be is refused before its body has come (C90, C91)."""
        for user, status in ((None, 401), ("bob", 403)):
            connection = self.pypid.connect()
            fields = (
                ("Content-Type", "multipart/form-data; boundary=x"),
                ("Content-Length", "1000000"),
            )
            connection.send(spelled("POST", "/legacy/", *fields, user=user))
            answer = connection.answer()
            assert answer is not None
            self.assertEqual(answer.status, status)
        self.assertEqual(self.incoming(), [])


class RulesTests(WholeCase):
    """Other rules than the usual ones."""

    def answers(self, rules: Rules, user: str | None) -> tuple[int, ...]:
        pypid = Pypid(Path(self.mktemp()), rules=rules)
        upload = self.publish(wheel_filename(), wheel(), user=user, pypid=pypid).status
        self.publish(wheel_filename("other"), wheel("other"), user="ada", pypid=pypid)
        read = pypid.get("/simple/other/", user=user).status
        return read, upload, pypid.api("DELETE", "/api/projects/other", user=user).status

    def test_open(self) -> None:
        """Everyone may read, whoever logs in may publish, admins delete: the default (C90, C91)."""
        rules = Rules(read=EVERYONE, write=AUTHENTICATED, delete=ADMINS)
        self.assertEqual(self.answers(rules, None), (200, 401, 401))
        self.assertEqual(self.answers(rules, "bob"), (200, 200, 403))
        self.assertEqual(self.answers(rules, "ada"), (200, 200, 200))

    def test_closed(self) -> None:
        """Where nobody is named admins still may all but overwrite (C91)."""
        rules = Rules(read=NOBODY, write=NOBODY, delete=NOBODY)
        self.assertEqual(self.answers(rules, None), (401, 401, 401))
        self.assertEqual(self.answers(rules, "bob"), (403, 403, 403))
        self.assertEqual(self.answers(rules, "ada"), (200, 200, 200))

    def test_wide_open(self) -> None:
        """Where everyone may do everything nobody needs a name, and what they do is by nobody
        (C91).
        """
        rules = Rules(read=EVERYONE, write=EVERYONE, delete=EVERYONE)
        self.assertEqual(self.answers(rules, None), (200, 200, 200))

    def test_named(self) -> None:
        """Reading may be for some only (C91)."""
        rules = Rules(
            read=Principals(users=frozenset({"bob"})), write=Principals(users=frozenset({"alice"}))
        )
        self.assertEqual(self.answers(rules, "bob"), (200, 403, 403))
        self.assertEqual(self.answers(rules, "alice"), (403, 200, 403))


class CredentialTests(WholeCase):
    """How somebody logs in."""

    rules = PRIVATE

    def status(self, *headers: tuple[str, str]) -> int:
        return self.pypid.get("/simple/", None, *headers).status

    def test_kinds(self) -> None:
        """A name and a password, ``__token__`` and a token, a bearer token (C93)."""
        for user in PASSWORDS:
            self.assertEqual(self.status(basic(user)), 200, user)
        self.assertEqual(self.status(("Authorization", f"Bearer {PASSWORDS['__token__']}")), 200)
        self.assertEqual(self.status(("Authorization", f"bearer {PASSWORDS['__token__']}")), 200)
        self.assertEqual(self.status(("Authorization", "Bearer pypi-wrong")), 401)

    def test_odd_passwords(self) -> None:
        """A password with a colon and with ö works, in UTF-8 and as requests sends it, in Latin-1
        (C93).
        """
        self.assertIn(":", PASSWORDS["ada"])
        self.assertEqual(self.status(basic("ada", encoding="utf-8")), 200)
        self.assertEqual(self.status(basic("ada", encoding="latin-1")), 200)
        self.assertEqual(self.status(basic("ada", "pa")), 401)

    def test_token_publishes(self) -> None:
        """``__token__`` with its token publishes as CI does (C93)."""
        self.published(self.publish(wheel_filename(), wheel(), user="__token__"))

    def test_damaged(self) -> None:
        """Whatever stands in the header is 401, and nothing of it comes back (C91, C95)."""
        secret = "c2VjcmV0"
        for value in (
            "Basic",
            "Basic ",
            f"Basic {secret}!",
            f"Basic {secret}",  # no colon
            "Basic " + b64encode(b":").decode(),
            "Basic " + b64encode(b"ada:").decode(),
            "Basic " + b64encode(b"ada\0:x").decode(),
            "Basic " + b64encode(b"ada:" + PASSWORDS["ada"].encode() + b"\0").decode(),
            "Basic " + b64encode(b"\xff\xfe:\xff").decode(),
            "Basic " + b64encode(b"a" * 300 + b":x").decode(),
            "Basic " + b64encode(b"ada:" + b"x" * 5000).decode(),
            "Basic " + "A" * 10000,
            f"Digest username={secret}",
            f"Bearer {secret} {secret}",
            "Bearer",
            secret,
            "\xff\xfe",
        ):
            answer = self.pypid.get("/simple/", None, ("Authorization", value))
            self.assertEqual(answer.status, 401, value)
            self.assertNotIn(secret, answer.text)
        self.assertEqual(self.status(("Authorization", ""), basic("ada")), 401)
        self.assertEqual(self.status(basic("ada"), basic("ada")), 401)

    def test_case(self) -> None:
        """Names are compared exactly (C91)."""
        self.assertEqual(self.status(basic("Ada", PASSWORDS["ada"])), 401)
        self.assertEqual(self.status(basic("ada ", PASSWORDS["ada"])), 401)


class SecretsTests(WholeCase):
    """Credentials stay where they were sent."""

    rules = PRIVATE

    @contextmanager
    def listening(self) -> Iterator[list[str]]:
        """All that is logged meanwhile."""
        events: list[str] = []

        def observe(event: LogEvent) -> None:
            events.append(eventAsText(event) + repr(event))

        globalLogPublisher.addObserver(observe)
        try:
            yield events
        finally:
            globalLogPublisher.removeObserver(observe)

    def test_nowhere(self) -> None:
        """Names' passwords are in no log, answer, redirect or URL, nor is the header that carried
        them (C95).
        """
        answers = []
        with self.listening() as events:
            self.published(self.publish(wheel_filename(), wheel()))
            for user in PASSWORDS:
                for rule, method in CLASSES:
                    body = b"{}" if method in ("PUT", "POST") else None
                    path = target_of(rule, "spam")
                    answers.append(self.pypid.ask(method, path, body=body, user=user))
            said = ("Referer", f"https://ada:s3cret@{HOST}/")
            targets = (
                "/simple",
                "/simple/SPAM/?token=s3cret",
                "/pypi/SPAM/json",
                "/nothing?password=s3cret",
            )
            answers += [self.pypid.get(target, None, said, user="ada") for target in targets]
            answers.append(self.pypid.get("/simple/", None, basic("ada", "wr0ng")))
        written = "\n".join([*events, *self.pypid.log])
        self.assertIn("/simple/SPAM/", written)
        answered = "\n".join(f"{answer.head}{answer.reason}{answer.body!r}" for answer in answers)
        for user, password in PASSWORDS.items():
            encoded = basic(user)[1].partition(" ")[2]
            for secret in (password, encoded):
                self.assertNotIn(secret, written)
                self.assertNotIn(secret, answered)
        for secret in ("wr0ng", b64encode(b"ada:wr0ng").decode()):
            self.assertNotIn(secret, written + answered)
        self.assertNotIn("s3cret", written)

    def test_in_the_host(self) -> None:
        """A Host with a name and a password in it is no host (C95): URLs are made of it."""
        connection = self.pypid.connect()
        connection.send(b"GET /pypi/spam/json HTTP/1.1\r\nHost: ada:s3cret@index.example\r\n\r\n")
        self.assertTrue(connection.rest().startswith(b"HTTP/1.1 400 "))
        self.assertNotIn(b"s3cret", connection.rest())

    def test_upload_form(self) -> None:
        """The form of an upload does not come back either (C95)."""
        sent = twine_7(Dist(wheel_filename(), wheel()))
        with self.listening() as events:
            kind = ("Content-Type", sent.content_type)
            self.pypid.ask(
                "POST", "/legacy/?password=s3cret", kind, body=sent.body[:-9], user="alice"
            )
        self.assertNotIn("s3cret", "\n".join([*events, *self.pypid.log]))
        self.assertNotIn(PASSWORDS["alice"], "\n".join([*events, *self.pypid.log]))


class OtherSiteTests(WholeCase):
    """A browser that remembers a password, and a page of somebody else's that it shows."""

    def test_nothing_is_changed(self) -> None:
        """What a page of another site makes a browser post changes nothing, though the password
        comes with it.
        """
        filename, _ = self.have_wheel("foo")
        for origin in (
            "https://evil.example",
            "null",
            f"https://{HOST}.evil.example",
            f"https://{HOST}:8443",
            "",
            HOST,
        ):
            header = ("Origin", origin)
            self.refused(
                self.publish(wheel_filename("bar"), wheel("bar"), headers=[header]),
                403,
                "another site",
            )
            for method, path in (
                ("POST", "/api/check"),
                ("POST", "/api/rebuild"),
                ("DELETE", "/api/projects/foo"),
                ("PUT", f"/api/projects/foo/files/{filename}/yank"),
            ):
                answer = self.pypid.ask(
                    method, path, header, ("Content-Type", "text/plain"), body=b"{}", user="ada"
                )
                self.refused(answer, 403, "another site")
        self.assertEqual(self.pypid.names(), ["foo"])
        self.assertIs(self.pypid.file_on("foo", filename)["yanked"], False)
        self.published(
            self.publish(
                wheel_filename("bar"), wheel("bar"), headers=[("Origin", f"https://{HOST.upper()}")]
            )
        )

    def test_reading(self) -> None:
        """Pages of other sites may read what everyone may."""
        self.assertEqual(
            self.pypid.get("/simple/", None, ("Origin", "https://pyodide.example")).status, 200
        )
