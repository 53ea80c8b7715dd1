"""Somebody makes an account, and logs in with a browser: a real pypid over TLS, its database, its
commands, a solved riddle.
"""

import json
import ssl
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any

import altcha
from twisted.trial.unittest import SynchronousTestCase

from tests.live.certificates import Authority
from tests.live.daemon import LiveIndex, check_log, hashes, stop, until_ready
from tests.live.processes import BIN, clean_environ, done, free_port, running, scratch

PASSWORD = "kiwi-secret-5"


class RegistrationTests(SynchronousTestCase):
    """From nobody to a session that outlives pypid."""

    def setUp(self) -> None:
        """A folder with a certificate and a configuration."""
        manager = scratch()
        self.folder = manager.__enter__()
        self.addCleanup(manager.__exit__, None, None, None)
        authority = Authority()
        self.trust = ssl.create_default_context(cafile=authority.pem(self.folder))
        authority.issue(self.folder / "chain.pem", self.folder / "key.pem")
        self.port = free_port()
        (self.folder / "pypid.ini").write_text(
            f"[server]\nlisten = tcp:{self.port}:interface=127.0.0.1\nstate = state\n"
            "tls_certificate = chain.pem\ntls_key = key.pem\n[upstream]\nmode = offline\n"
            "[access]\nbackend = config sql\nread = authenticated\nwrite = admin\nadmins = admin\n"
            f"registration = approval\ncaptcha = yes\n[users]\nadmin = {hashes()['admin']}\n"
        )

    @contextmanager
    def pypid(self) -> Iterator[None]:
        """It runs."""
        config = self.folder / "pypid.ini"
        command = [BIN / "twistd", "--nodaemon", "--pidfile=", "pypid", "--config", config]
        with running(
            command, self.folder / "log", cwd=self.folder, environ=clean_environ()
        ) as process:
            index = LiveIndex(self.folder, self.port, True, process)
            until_ready(index)
            yield
            stop(index)
            for secret in (PASSWORD, "_session=", "$argon2"):
                self.assertNotIn(secret, index.log())

    def command(self, *words: str) -> str:
        return done([BIN / "pypid", *words, "--config", self.folder / "pypid.ini"])

    def ask(
        self, method: str, path: str, document: Any = None, **headers: str
    ) -> tuple[HTTPResponse, bytes]:
        """Over a connection of its own; the path of the URL, and headers with _ for -."""
        connection = HTTPSConnection("127.0.0.1", self.port, timeout=30, context=self.trust)
        self.addCleanup(connection.close)
        body = None if document is None else json.dumps(document).encode()
        connection.request(
            method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        response = connection.getresponse()
        return response, response.read()

    def solution(self) -> str:
        """Of a riddle as hard as it is for everybody."""
        response, body = self.ask("GET", "/api/captcha")
        self.assertEqual(response.status, 200, body)
        document = json.loads(body)
        solved = altcha.solve_challenge(altcha.Challenge.from_dict(document))
        assert solved is not None
        return b64encode(
            json.dumps({"challenge": document, "solution": solved.to_dict()}).encode()
        ).decode()

    def test_whole(self) -> None:
        """Registered, approved by a command, logged in; the session outlives a restart, and its
        logout holds.
        """
        who = {"user": "eve", "password": PASSWORD}
        with self.pypid():
            self.assertEqual(self.ask("POST", "/api/register", who)[0].status, 400)
            response, body = self.ask("POST", "/api/register", {**who, "captcha": self.solution()})
            self.assertEqual((response.status, json.loads(body)["status"]), (201, "pending"), body)
            response, body = self.ask("POST", "/api/session", who)
            self.assertEqual(response.status, 403)
            self.assertIn(b"approve", body)
            self.assertIn("eve", self.command("user", "list"))
            self.command("user", "enable", "eve")
            response, body = self.ask("POST", "/api/session", who)
            self.assertEqual(response.status, 200, body)
            cookie = str(response.getheader("Set-Cookie"))
            self.assertRegex(cookie, "^__Host-pypid_session=.*; Secure$")
            cookie, token = cookie.split(";")[0], json.loads(body)["csrf_token"]
            self.assertEqual(self.ask("GET", "/simple/", Cookie=cookie)[0].status, 200)
            self.assertEqual(self.ask("GET", "/simple/")[0].status, 401)
        with self.pypid():
            response, body = self.ask("GET", "/api/session", Cookie=cookie)
            self.assertEqual(
                (json.loads(body)["user"], json.loads(body)["csrf_token"]), ("eve", token)
            )
            self.assertEqual(self.ask("DELETE", "/api/session", Cookie=cookie)[0].status, 403)
            self.assertEqual(
                self.ask("DELETE", "/api/session", Cookie=cookie, X_CSRF_Token=token)[0].status, 200
            )
            self.assertEqual(self.ask("GET", "/simple/", Cookie=cookie)[0].status, 401)
            log = self.command("audit", "--json")
        for word in ("user register", "user log-in", "user log-out", "user enable"):
            self.assertIn(word, log)
        self.assertEqual(self.mode("session.key"), 0o600)
        check_log((self.folder / "log").read_text())

    def mode(self, name: str) -> int:
        path = Path(self.folder / "state" / name)
        return path.stat().st_mode & 0o777
