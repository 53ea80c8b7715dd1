"""What operators rely on: probes, the log and its level, request ids, the watchdog, and the
examples in docs/operate/monitoring.rst.
"""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from pypid.access.passwords import hash_password
from tests.live.clients import ROOT, tool
from tests.live.processes import BIN, Running, free_port, running, scratch

ADMIN = "admin", "mountain-secret-1"
SECRETS = (ADMIN[1], "upstream-secret-2", "query-secret-3", "wrong-secret-4", "referer-secret-5")


@frozen
class Served:
    """A pypid that runs; `log` is where it writes its lines."""

    folder: Path
    port: int
    running: Running
    log: Path

    @property
    def config(self) -> Path:
        return self.folder / "pypid.ini"

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        document: object = None,
        user: tuple[str, str] | None = None,
        **headers: str,
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, header fields and body."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        if document is not None:
            request.data = json.dumps(document).encode()
            request.add_header("Content-Type", "application/json")
        if user is not None:
            request.add_header(
                "Authorization", "Basic " + b64encode(":".join(user).encode()).decode()
            )
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read()

    def lines(self) -> list[dict[str, Any]]:
        """The lines of the log, each of which is one object."""
        return [
            json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")
        ]

    def until(self, seen: object, within: float = 20.0) -> Any:
        """The first true answer of `seen`."""
        deadline = time.monotonic() + within
        while not (found := seen()):  # type: ignore[operator]
            assert time.monotonic() < deadline, self.log.read_text()[-4000:]
            time.sleep(0.05)
        return found


@contextmanager
def served(*, level: str = "info", form: str = "json", more: str = "") -> Iterator[Served]:
    """One that answers."""
    with scratch() as folder:
        port = free_port()
        (folder / "pypid.ini").write_text(
            f"[server]\nlisten = tcp:{port}:interface=127.0.0.1\nstate = {folder / 'state'}\n"
            f"[access]\nbackend = config sql\nadmins = {ADMIN[0]}\n[users]\n{ADMIN[0]} = "
            f"{hash_password(ADMIN[1])}\n"
            f"[log]\nlevel = {level}\nformat = {form}\n{more}"
        )
        words = [BIN / "pypid", "serve", "--config", folder / "pypid.ini"]
        with running(words, folder / "log", cwd=folder) as process:
            process.until_answers(f"http://127.0.0.1:{port}/health")
            yield Served(folder, port, process, folder / "log")


class SecretTests(SynchronousTestCase):
    def test_debug(self) -> None:
        """At debug no password, token, session, Authorization, query, Referer or signed part of an
        address is written.

        In neither format, whatever goes well or wrong; and what was asked is there, so that
        something was written at all.
        """
        for form in "json", "text":
            away = (
                "[upstream]\nmode = cache\nurl = "
                f"http://joe:{SECRETS[1]}@127.0.0.1:{free_port()}/simple/\n"
            )
            with served(level="debug", form=form, more=away) as pypid:
                status, _, body = pypid.ask(
                    "/api/tokens",
                    method="POST",
                    document={"name": "ci", "actions": ["read"]},
                    user=ADMIN,
                )
                self.assertEqual(status, 201, body)
                token = json.loads(body)["secret"]
                status, head, body = pypid.ask(
                    "/api/session", method="POST", document={"user": ADMIN[0], "password": ADMIN[1]}
                )
                self.assertEqual(status, 200, body)
                name, session = re.findall(r"^([^=]+)=([^;]{16,})", head["Set-Cookie"])[0]
                for path in (
                    f"/simple/?token={SECRETS[2]}",
                    "/simple/requests/",
                    f"/packages/x/x-1.0.tar.gz?X-Amz-Signature={SECRETS[2]}",
                    f"/nowhere?password={SECRETS[2]}",
                ):
                    for user in (None, ADMIN, ("admin", SECRETS[3]), ("__token__", token)):
                        pypid.ask(
                            path,
                            user=user,
                            Referer=f"http://x/?{SECRETS[4]}",
                            Cookie=f"{name}={session}",
                        )
                pypid.ask("/api/me", Authorization=f"Bearer {token}")
                pypid.running.stop()
                said = pypid.running.output()
            self.assertIn("/simple/requests/", said)
            encoded = [b64encode(f"admin:{secret}".encode()).decode() for secret in SECRETS]
            for secret in (*SECRETS, *encoded, token, session):
                self.assertNotIn(secret, said)


class ExampleTests(SynchronousTestCase):
    """docs/examples: what docs/operate/monitoring.rst shows."""

    def test_haproxy_balances(self) -> None:
        """Behind the example two pypids answer as one: who is not ready is left out, and the other
        one answers.
        """
        haproxy = tool("haproxy")
        with served() as one, served() as other, scratch() as folder:
            port = free_port()
            text = (
                (ROOT / "docs/examples/haproxy.cfg")
                .read_text()
                .replace("127.0.0.1:8080", f"127.0.0.1:{port}")
            )
            for address, each in ("192.0.2.11:6543", one), ("192.0.2.12:6543", other):
                text = text.replace(address, f"127.0.0.1:{each.port}")
            (folder / "haproxy.cfg").write_text(text)
            url = f"http://127.0.0.1:{port}/simple/"
            with running([haproxy, "-db", "-f", folder / "haproxy.cfg"], folder / "log") as proxy:
                proxy.until_answers(url)
                place = one.folder / "state/packages"
                place.rename(place.with_name("elsewhere"))
                one.until(lambda: one.ask("/ready")[0] == 503)
                time.sleep(5)  # its check comes each 2 s
                before = len([line for line in one.lines() if line.get("path") == "/simple/"])
                for _ in range(10):
                    with urllib.request.urlopen(url, timeout=10) as answer:
                        self.assertEqual(answer.status, 200)
                after = len([line for line in one.lines() if line.get("path") == "/simple/"])
                self.assertEqual(after, before)
