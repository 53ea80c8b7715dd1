"""The numbers of a real pypid after known requests: exactly those."""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from tests import distributions
from tests.live.asking import ask, basic
from tests.live.daemon import IndexTestCase, LiveIndex, Settings, pypid
from tests.live.processes import FAST_PATH, scratch
from tests.live.projects import Artifact, publish, wheel

Labels = tuple[tuple[str, str], ...]
PAGE, LIST, FILE, UPLOAD = (
    "/simple/<project>/",
    "/simple/",
    "/packages/<project>/<filename>",
    "/legacy/",
)

FAST_ANSWERS = 0 if os.environ.get(FAST_PATH) == "no" else 3
"""How many answers the fast path gives at least."""


class Numbers:
    """All samples of one moment."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._found: dict[tuple[str, Labels], float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value

    def __call__(self, name: str, **labels: str) -> float:
        return self._found.get((name, tuple(sorted(labels.items()))), 0)

    def answers(self, route: str, method: str = "GET", status: int = 200) -> float:
        """So many of them were given."""
        return self("pypid_http_requests_total", route=route, method=method, status=str(status))


def exchange(
    port: int, sent: bytes, ends: Callable[[bytes], bool], *, take: int = 1 << 30
) -> bytes:
    """What comes back on one connection until it `ends`, or so many bytes of it; then the
    connection is cut off.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.sendall(sent)
        came = b""
        while len(came) < take and not ends(came) and (piece := connection.recv(min(65536, take))):
            came += piece
        return came


def pages(project: str, times: int = 1, *fields: str, method: str = "GET") -> bytes:
    """So many requests for its page, in the same words."""
    head = "".join(f"{field}\r\n" for field in ("Host: localhost", *fields))
    return f"{method} /simple/{project}/ HTTP/1.1\r\n{head}\r\n".encode() * times


def answered(times: int) -> Callable[[bytes], bool]:
    """Whether so many answers have come, each with its body: of short pages."""
    return lambda came: (
        len(re.findall(rb"HTTP/1\.1 \d{3}", came)) == times
        and (came.endswith(b">\n") or came[-4:] == b"\r\n\r\n")
    )


class MetricsCase(IndexTestCase):
    """Against a pypid of its own: others would be counted, too."""

    def start(self) -> LiveIndex:
        """The one of the settings."""
        return self.run_with(self.settings)

    def run_with(self, settings: Settings) -> LiveIndex:
        """One with these."""
        return self.entered(pypid(self.entered(scratch()), settings))

    def numbers(self, index: LiveIndex | None = None) -> Numbers:
        """As the administrator sees them."""
        answer = ask((index or self.index).port, "/metrics", basic("admin"))
        self.assertEqual(answer.status, 200, answer.text)
        return Numbers(answer.text)

    def until(self, seen: Callable[[Numbers], bool], index: LiveIndex | None = None) -> Numbers:
        """The first numbers of which that is so."""
        deadline = time.monotonic() + 20
        while not seen(numbers := self.numbers(index)):
            self.assertLess(time.monotonic(), deadline, numbers.text)
            time.sleep(0.1)
        return numbers


class ExactTests(MetricsCase):
    """Each answer is counted once, whoever gives it."""

    def work(self, index: LiveIndex) -> None:
        """Known requests. (The pages are short, so no answer comes in pieces.)"""
        port = index.port
        publish(index, wheel("tool"), Artifact("big-1.0.tar.gz", big()))
        for _ in range(3):
            exchange(port, pages("tool"), answered(1))
        exchange(port, pages("tool", 5), answered(5))
        etag = ask(port, "/simple/tool/").headers["ETag"]
        exchange(port, pages("tool", 2, f"If-None-Match: {etag}"), answered(2))
        exchange(port, pages("tool", 2, method="HEAD"), answered(2))
        for path, status in (
            ("/simple/nothing/", 404),
            ("/no/thing/at/all", 404),
            ("/simple/tool", 301),
        ):
            self.assertEqual(ask(port, path).status, status)
        self.assertEqual(ask(port, "/simple/", basic("bob", "wrong")).status, 401)
        self.assertEqual(ask(port, "/simple/", method="DELETE").status, 405)
        exchange(port, b"\x16\x03\x01\r\n\r\n", lambda came: came.endswith(b"long.\n"))
        for _ in range(2):
            self.assertEqual(ask(port, f"/packages/tool/{wheel('tool').filename}").status, 200)
        big_one = b"GET /packages/big/big-1.0.tar.gz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for _ in range(2):
            exchange(port, big_one, lambda came: False, take=1000)

    def check(self, numbers: Numbers) -> None:
        """What these come to."""
        self.assertEqual(numbers.answers(UPLOAD, "POST"), 2)
        self.assertEqual(numbers.answers(PAGE), 3 + 5 + 1)
        self.assertEqual(numbers.answers(PAGE, status=304), 2)
        self.assertEqual(numbers.answers(PAGE, "HEAD"), 2)
        self.assertEqual(numbers.answers(PAGE, status=301), 1)
        self.assertEqual(numbers.answers(PAGE, status=404), 1)
        self.assertEqual(numbers.answers("none", status=404), 1)
        self.assertEqual(numbers.answers(LIST, status=401), 1)
        self.assertEqual(numbers.answers("none", "DELETE", 405), 1)
        self.assertEqual(numbers.answers("none", "other", 400), 1)
        self.assertEqual(numbers.answers(FILE), 4)
        self.assertEqual(numbers("pypid_http_broken_off_total", route=FILE), 2)
        self.assertEqual(
            numbers("pypid_http_request_seconds_count", route=PAGE, method="GET"), 9 + 2 + 1 + 1
        )
        self.assertEqual(numbers("pypid_publishes_total", outcome="published"), 2)
        self.assertEqual(
            numbers("pypid_published_bytes_total"), len(wheel("tool").data) + len(big())
        )
        self.assertEqual(numbers("pypid_logins_total", credential="password", outcome="refused"), 1)
        self.assertEqual(numbers("pypid_uploads_under_way"), 0)
        self.assertEqual(numbers("pypid_projects", whose="ours"), 2)
        self.assertEqual(numbers("pypid_storage_compared"), 1)
        self.assertEqual(numbers("pypid_workers"), 1)
        self.assertGreater(numbers("pypid_http_received_bytes_total"), len(big()))
        self.assertLess(numbers("pypid_http_received_bytes_total"), len(big()) + 5000)
        # two downloads were cut off: the kernel had taken more than the client did, and not all
        self.assertLess(numbers("pypid_http_sent_bytes_total"), 2 * len(big()))
        self.assertGreater(numbers("pypid_storage_written_bytes_total"), len(big()))
        self.assertGreater(numbers("process_resident_memory_bytes", worker="1"), 1 << 20)

    def test_front_door(self) -> None:
        """Through the fast path: pages pipelined or not, 304, HEAD, errors, what is no HTTP,
        downloads that were cut off.
        """
        self.work(self.index)
        numbers = self.until(
            lambda numbers: numbers("pypid_http_broken_off_total", route=FILE) == 2
        )
        self.check(numbers)
        self.assertGreaterEqual(numbers("pypid_http_front_door_answers_total"), FAST_ANSWERS)


class AccessTests(MetricsCase):
    """Who may read them."""

    settings = Settings(server="metrics = carol")

    def test_no_names(self) -> None:
        """No name of a project, of a file or of a person is there, whatever was asked for."""
        publish(self.index, wheel("secretproject"))
        for path in (
            "/simple/secretproject/",
            "/simple/secretother/",
            "/secret/place?secret",
            f"/packages/secretproject/{'secret' * 9}",
        ):
            ask(self.index.port, path)
            ask(self.index.port, path, basic("carol"), method="SECRET")
        text = self.numbers().text
        for word in ("secret", "SECRET", "carol", "alice", "127.0.0.1", str(self.index.folder)):
            self.assertNotIn(word, text)


class WorkersTests(MetricsCase):
    """Of several workers."""

    settings = Settings(server="workers = 2", sections="[catalog]\nbackend = sql\n")

    def test_together(self) -> None:
        """Whoever is asked tells the numbers of all; none is less than before, also when a worker
        is killed.
        """
        self.until(lambda numbers: numbers("pypid_workers") == 2)
        last = 0.0
        for _ in range(60):
            ask(self.index.port, "/simple/")
            now = self.numbers().answers(LIST)
            self.assertGreaterEqual(now, last)
            last = now
        self.assertEqual(self.until(lambda numbers: numbers.answers(LIST) >= 60).answers(LIST), 60)
        folder = self.index.folder / "state/metrics"
        pid = json.loads((folder / "2.json").read_bytes())["pid"]
        time.sleep(1.5)  # it writes down what it counts once a second
        os.kill(pid, signal.SIGKILL)
        for _ in range(20):
            self.assertGreaterEqual(self.numbers().answers(LIST), 60)
            time.sleep(0.1)
        self.assertEqual(
            self.until(lambda numbers: numbers("pypid_workers") == 2).answers(LIST), 60
        )


@functools.cache
def big() -> bytes:
    """An sdist that no socket's buffer holds."""
    return distributions.sdist("big", "1.0", files={"noise": os.urandom(24 << 20)})
