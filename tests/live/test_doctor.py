"""`pypid doctor` on machines that lack something: each lack is named with what to do, beside real
services.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from threading import Thread

from twisted.trial.unittest import SynchronousTestCase

from tests.live import postgresql, redis, slapd
from tests.live.certificates import Authority
from tests.live.processes import BIN, clean_environ, free_port, running, scratch
from tests.live.stores import store

OFFLINE = "[upstream]\nmode = offline\n"
Result = tuple[str, str, str, str]


@contextmanager
def upstream(ahead: timedelta = timedelta(), status: int = 200) -> Iterator[str]:
    """The URL of an index whose clock is ahead of this machine's."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response_only(status)
            self.send_header("Date", format_datetime(datetime.now(UTC) + ahead, usegmt=True))
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/simple/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class DoctorTests(SynchronousTestCase):
    def setUp(self) -> None:
        stack = ExitStack()
        self.addCleanup(stack.close)
        self.stack = stack
        self.folder = stack.enter_context(scratch())
        self.ini = self.folder / "pypid.ini"
        self.port = free_port()

    def configure(self, rest: str = OFFLINE, server: str = "") -> None:
        """Write the configuration."""
        self.ini.write_text(
            f"[server]\nlisten = 127.0.0.1:{self.port}\nstate = {self.folder / 'state'}\n{server}\n"
            f"{rest}"
        )

    def examine(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run the command."""
        return subprocess.run(
            [BIN / "pypid", "doctor", "--config", self.ini, *options],
            cwd=self.folder,
            env=clean_environ(),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def results(self, status: int) -> list[Result]:
        """Area, level, text and advice of each result. Nothing is on standard error."""
        ended = self.examine("--json")
        self.assertEqual(ended.returncode, status, ended.stdout + ended.stderr)
        self.assertEqual(ended.stderr, "")
        document = json.loads(ended.stdout)
        self.assertEqual(document["healthy"], status == 0)
        return [
            (each["area"], each["level"], each["text"], each["advice"])
            for each in document["results"]
        ]

    def found(self, status: int, area: str) -> list[Result]:
        """The results of one area that are not ok."""
        return [each for each in self.results(status) if each[0] == area and each[1] != "ok"]

    def test_stopped_and_running(self) -> None:
        """A machine without lacks has no problem; a running pypid is asked, and its endpoints are
        left alone.
        """
        self.configure()
        ended = self.examine()
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        self.assertIn("ok       pypid          it is not running", ended.stdout)
        self.assertIn("No problem, 1 warning, ", ended.stdout)
        self.assertFalse((self.folder / "state").exists())
        command = [BIN / "pypid", "serve", "--config", self.ini]
        with running(command, self.folder / "log", cwd=self.folder) as process:
            process.until_answers(f"http://127.0.0.1:{self.port}/health")
            results = self.results(0)
        self.assertIn(f"runs at http://127.0.0.1:{self.port}", str(results))
        self.assertIn(("accounts", "ok", "administrators: admin", ""), results)

    def test_invalid_configuration(self) -> None:
        """The problems of check-config are shown, and no other check runs."""
        self.configure("[log]\nlevel = loud\n")
        results = self.results(1)
        self.assertEqual([each[:2] for each in results], [("configuration", "problem")] * 2)
        self.assertIn("[log] level: invalid value 'loud'", results[0][2])

    def test_modes(self) -> None:
        """A key that all can read, and a state folder that all can enter."""
        Authority().issue(self.folder / "c.pem", self.folder / "k.pem")
        (self.folder / "k.pem").chmod(0o644)
        (self.folder / "state").mkdir(mode=0o755)
        self.configure(server="tls_certificate = c.pem\ntls_key = k.pem\n")
        results = self.results(0)
        self.assertIn("every user of this machine can read", str(results))
        self.assertIn(f"Run: chmod 700 {self.folder / 'state'}", str(results))

    def test_unreachable_upstreams(self) -> None:
        """A refused connection, a name without an address, and a server that never answers, each in
        its own words and bounded time.
        """
        with socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            port = silent.getsockname()[1]
            self.configure(
                f"[upstream]\nurl = http://127.0.0.1:{free_port()}/simple/ "
                f"http://nosuch.invalid/simple/ http://127.0.0.1:{port}/simple/\n"
            )
            began = time.monotonic()
            found = self.found(1, "upstream")
        self.assertLess(time.monotonic() - began, 30)
        self.assertEqual([each[1] for each in found], ["problem"] * 3)
        self.assertIn("refuses connections", found[0][2])
        self.assertIn("has no address (DNS)", found[1][2])
        self.assertIn("no answer within 10 s", found[2][2])

    def test_statuses_of_upstream(self) -> None:
        """A wrong password and a wrong path are problems."""
        for status, words in ((401, "user and password"), (404, "it ends with /simple/")):
            with upstream(status=status) as url:
                self.configure(f"[upstream]\nurl = {url}\n")
                [(_, level, text, advice)] = self.found(1, "upstream")
            self.assertEqual(level, "problem")
            self.assertIn(f"status {status}", text)
            self.assertIn(words, advice)

    def test_clock(self) -> None:
        """The Date of the upstream's answer tells how wrong the clock is."""
        for ahead, status, level in (
            (timedelta(), 0, None),
            (timedelta(minutes=2), 0, "warning"),
            (timedelta(hours=-1), 1, "problem"),
        ):
            with upstream(ahead) as url:
                self.configure(f"[upstream]\nurl = {url}\n")
                found = self.found(status, "clock")
            self.assertEqual([each[1] for each in found], [] if level is None else [level])
        self.assertRegex(found[0][2], r"the clock is 3(599|600|601) s ahead of the upstream's")

    def test_bucket(self) -> None:
        """A bucket with all permissions is fine, and nothing is left in it; each denied action is
        named.
        """
        s3 = self.stack.enter_context(store("radosgw"))
        bucket = s3.bucket()
        self.configure(
            f"[storage]\nbackend = s3\nbucket = {bucket}\nendpoint_url = {s3.endpoint}\nregion = "
            f"{s3.region}\naccess_key = {s3.access_key}\nsecret_key = {s3.secret_key}\n{OFFLINE}"
        )
        results = [each for each in self.results(0) if each[0] == "S3"]
        self.assertIn(("S3", "ok", "put, head, get, list and delete work", ""), results)
        self.assertIn("conditional writes", str(results))
        self.assertNotIn(b"<Key>", s3.ask("GET", f"/{bucket}").body)
        for action in ("s3:GetObject", "s3:PutObject", "s3:ListBucket", "s3:DeleteObject"):
            s3.deny(bucket, action)
            found = self.found(1, "S3")
            self.assertTrue(found, action)
            self.assertIn("AccessDenied", str(found))
            self.assertIn("s3:PutObject, s3:GetObject, s3:DeleteObject", found[0][3])
            self.assertNotIn(s3.secret_key, str(found))
            s3.deny(bucket)

    def test_redis(self) -> None:
        """The database of a shared catalog answers, or is named as the problem."""
        with redis.redis() as server:
            self.configure(f"[catalog]\nbackend = redis\nurl = {server.catalog()}\n{OFFLINE}")
            self.assertEqual(self.found(0, "catalog"), [])
        [(_, level, text, _)] = self.found(1, "catalog")
        self.assertEqual(level, "problem")
        self.assertIn("the database of the catalog (redis) cannot be used", text)

    def test_postgresql(self) -> None:
        """Catalog and accounts in PostgreSQL are asked; a server that does not run is a problem, and
        its password is not shown.
        """
        with postgresql.postgresql() as server:
            url = server.database()
            self.configure(
                f"[catalog]\nbackend = sql\nurl = {url}\n[access]\nurl = {url}\n{OFFLINE}"
            )
            self.assertEqual(self.found(0, "catalog"), [])
        results = [each for each in self.results(1) if each[1] == "problem"]
        self.assertEqual({each[0] for each in results}, {"catalog", "accounts"})
        self.assertNotIn(postgresql.PASSWORD, str(results))

    def test_directory(self) -> None:
        """The directory is asked with bind_dn; a wrong password is a problem, and is not shown."""
        server = self.stack.enter_context(slapd.slapd())
        self.stack.enter_context(server.runs())
        for password, status in ((slapd.MANAGER_PASSWORD, 0), ("Xyzzy-wrong", 1)):
            self.configure(
                f"[access]\nbackend = config ldap\n[ldap]\nurl = {server.url}\nbase_dn = "
                f"{slapd.BASE}\nbind_dn = {slapd.MANAGER}\nbind_password = {password}\n{OFFLINE}"
            )
            found = self.found(status, "directory")
            self.assertEqual([each[1] for each in found], ["problem"] * status)
            self.assertNotIn(password, str(found))
        self.assertIn("bind_dn", found[0][2])

    def test_catalog_in_sqlite_before_the_first_start(self) -> None:
        """A catalog that no start has created yet is no problem."""
        self.configure(f"[catalog]\nbackend = sql\n{OFFLINE}")
        self.assertEqual(self.found(0, "catalog"), [])
        self.assertFalse((self.folder / "state" / "catalog.db").exists())
