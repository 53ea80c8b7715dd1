"""Large uploads to a bucket: sent while the client sends, and a pypid that is killed meanwhile."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

import base64
import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import Final, TypeVar
from urllib.parse import unquote_plus

from attrs import evolve, frozen
from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import (
    BIN,
    PASSWORDS,
    LiveIndex,
    Settings,
    configuration,
    until_ready,
)
from tests.live.processes import clean_environ, free_port, running, scratch
from tests.live.projects import Artifact
from tests.live.stores import store
from tests.live.stores.between import between
from tests.live.test_cache import large
from tests.live.test_s3 import PREFIX, Place, get

T = TypeVar("T")
MIB: Final = 1 << 20
SIZES: Final = {"swift": 30 * MIB, "radosgw": 90 * MIB}
"""Sizes of files that are sent early: radosgw does not look at a condition when parts are
completed, so pypid sends it larger files in parts only.
"""
LAST: Final = MIB
"""Bytes that a client keeps back."""
BOUNDARY: Final = b"0123456789abcdef"


@frozen
class SlowClient:
    """An upload whose last bytes the client keeps back."""

    connection: socket.socket
    rest: bytes

    def finish(self) -> int:
        """Send the rest; the status of the answer, 0 if the connection ended without one."""
        answer = b""
        with contextlib.suppress(OSError), self.connection:
            self.connection.sendall(self.rest)
            while piece := self.connection.recv(65536):
                answer += piece
        return int(answer.split(b" ", 2)[1]) if answer else 0


def begin(index: LiveIndex, artifact: Artifact) -> SlowClient:
    """Begin an upload."""
    body = b"".join(
        b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (BOUNDARY, name, text)
        for name, text in ((b":action", b"file_upload"), (b"protocol_version", b"1"))
    )
    body += b'--%s\r\nContent-Disposition: form-data; name="content"; filename="%s"\r\n\r\n' % (
        BOUNDARY,
        artifact.filename.encode(),
    )
    body += artifact.data + b"\r\n--%s--\r\n" % BOUNDARY
    login = base64.b64encode(f"alice:{PASSWORDS['alice']}".encode())
    head = (
        b"POST /legacy/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        b"Authorization: Basic %s\r\nContent-Length: %d\r\n"
        b"Content-Type: multipart/form-data; boundary=%s\r\n\r\n" % (login, len(body), BOUNDARY)
    )
    connection = socket.create_connection(("127.0.0.1", index.port), timeout=120)
    connection.sendall(head + body[:-LAST])
    return SlowClient(connection, body[-LAST:])


def until(condition: Callable[[], object], within: float = 60.0) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("it never came true")
        time.sleep(0.02)


@contextmanager
def killable(folder: Path, settings: Settings) -> Iterator[LiveIndex]:
    """A pypid that is killed in the end, unless it was before."""
    port = free_port()
    (folder / "pypid.ini").write_text(configuration(folder, port, settings))
    command = [BIN / "twistd", "--nodaemon", "--pidfile=", "pypid", "--config"]
    log = folder / f"log-{port}"
    with running(
        [*command, folder / "pypid.ini"], log, cwd=folder, environ=clean_environ()
    ) as process:
        index = LiveIndex(folder, port, False, process)
        until_ready(index)
        try:
            yield index
        finally:
            kill(index)


def kill(index: LiveIndex) -> None:
    """Kill it by SIGKILL."""
    index.running.process.kill()
    index.running.process.wait()


class LargeUploadCase(SynchronousTestCase):
    """Uploads to a new bucket of the store of that name."""

    name = "swift"

    def setUp(self) -> None:
        self.s3 = self.entered(store(self.name))
        self.place = Place(self.s3, self.s3.bucket(), self.entered(between(self.s3)))
        self.settings = Settings(bucket=self.place.lines())
        self.folder = self.entered(scratch())
        self.artifact = large("s3-large", size=SIZES[self.name])

    def entered(self, manager: AbstractContextManager[T]) -> T:
        """What `manager` gives, until the test is over."""
        value = manager.__enter__()
        self.addCleanup(manager.__exit__, None, None, None)
        return value

    def begun(self, index: LiveIndex) -> SlowClient:
        """An upload whose first parts are in the store."""
        client = begin(index, self.artifact)
        until(lambda: self.heard("partNumber=2"))
        return client

    def heard(self, *words: str) -> list[str]:
        """The requests of the store whose method or target has one of these words in it."""
        targets = [f"{heard.method} {heard.target}" for heard in self.place.before.heard()]
        return [target for target in targets if any(word in target for word in words)]

    def unfinished(self) -> list[str]:
        """The ids of the multipart uploads that were begun and not ended."""
        answer = self.s3.ask("GET", f"/{self.place.bucket}", query={"uploads": ""})
        return answer.find("UploadId")

    def objects(self) -> list[str]:
        """The keys of all objects of projects."""
        query = {"list-type": "2", "encoding-type": "url"}
        answer = self.s3.ask("GET", f"/{self.place.bucket}", query=query)
        keys = [unquote_plus(key).removeprefix(PREFIX) for key in answer.find("Key")]
        return [key for key in keys if not key.startswith(".")]

    def served(self, index: LiveIndex) -> bytes | None:
        """The bytes of the file as a client gets them; None where it is not listed."""
        page = get(index.url("/simple/s3-large/"), Accept="application/vnd.pypi.simple.v1+json")
        if page.status == 404:
            return None
        files = {file["filename"]: file for file in json.loads(page.body)["files"]}
        if self.artifact.filename not in files:
            return None
        sent = get(index.url(f"/packages/s3-large/{self.artifact.filename}"))
        data = get(sent.location).body
        self.assertEqual(
            sha256(data).hexdigest(), files[self.artifact.filename]["hashes"]["sha256"]
        )
        return data


class EarlyTests(LargeUploadCase):
    """A store that looks at conditions whenever an object is written."""

    def test_parts_are_sent_while_the_client_sends(self) -> None:
        """Parts are in the store before all has come; the file is visible only after the answer."""
        with killable(self.folder, self.settings) as index:
            client = self.begun(index)
            self.assertEqual(len(self.unfinished()), 1)
            self.assertEqual((self.objects(), self.served(index)), ([], None))
            self.assertEqual(client.finish(), 200)
            self.assertTrue(self.served(index) == self.artifact.data)
            self.assertEqual(self.unfinished(), [])
            artifact = f"/{self.artifact.filename}"
            puts = [put for put in self.heard("PUT ") if put.partition("?")[0].endswith(artifact)]
            self.assertTrue(all("partNumber=" in put for put in puts), puts)

    def test_client_that_disconnects_leaves_nothing(self) -> None:
        """A client that goes away in the middle leaves no object and no parts."""
        with killable(self.folder, self.settings) as index:
            client = self.begun(index)
            client.connection.close()
            until(lambda: not self.unfinished())
            self.assertEqual((self.objects(), self.served(index)), ([], None))

    def test_refused_file_leaves_nothing(self) -> None:
        """A file that turns out to be no distribution leaves no object and no parts."""
        self.artifact = evolve(self.artifact, data=bytes(len(self.artifact.data)))
        with killable(self.folder, self.settings) as index:
            self.assertEqual(self.begun(index).finish(), 400)
            until(lambda: not self.unfinished())
            self.assertEqual((self.objects(), self.served(index)), ([], None))

    def test_two_clients_at_once(self) -> None:
        """Of two that send other bytes under one name, exactly one wins, and its bytes stay."""
        other = evolve(self.artifact, data=large("s3-large", size=SIZES[self.name] + 1).data)
        with killable(self.folder, self.settings) as index:
            first, second = self.begun(index), begin(index, other)
            until(lambda: len(self.unfinished()) == 2)
            self.assertEqual([second.finish(), first.finish()], [200, 400])
            self.artifact = other
            self.assertTrue(self.served(index) == other.data)
            until(lambda: not self.unfinished())

    def test_killed_at_each_step(self) -> None:
        """Wherever pypid is killed, the file is there whole or not at all; an acknowledged one is
        there; and the next upload of it succeeds.
        """
        for step in ("?uploads", "partNumber=2", "POST ", ".metadata", ".record.json", ""):
            self.place = Place(self.s3, self.s3.bucket(), self.entered(between(self.s3)))
            folder, settings = self.entered(scratch()), Settings(bucket=self.place.lines())
            with killable(folder, settings) as index:
                status = self.killed_at(step, index)
            with killable(folder, settings) as index:
                data = self.served(index)
                self.assertTrue(data is None or data == self.artifact.data, step)
                if status:
                    self.assertEqual((status, data is not None), (200, True), step)
                self.assertEqual(begin(index, self.artifact).finish(), 200, step)
                self.assertTrue(self.served(index) == self.artifact.data, step)

    def killed_at(self, step: str, index: LiveIndex) -> int:
        """Upload, and kill pypid as soon as the store has heard this request; the status of the
        answer.
        """
        is_early = step in ("?uploads", "partNumber=2")
        first = self.changed(step if is_early else "partNumber=2")
        client = begin(index, self.artifact)
        until(first)
        if is_early:
            kill(index)
            return client.finish()
        return self.killed_meanwhile(index, client, step)

    def changed(self, word: str) -> Callable[[], bool]:
        """Whether one more request that changes something has this word in it than now."""

        def changes() -> int:
            return sum(word in target for target in self.heard("PUT ", "POST "))

        before = changes()
        return lambda: changes() > before

    def killed_meanwhile(self, index: LiveIndex, client: SlowClient, step: str) -> int:
        """Finish the upload, and kill pypid as soon as the store heard the request; the status of
        the answer.
        """
        statuses: list[int] = []
        finishing = Thread(target=lambda: statuses.append(client.finish()), daemon=True)
        is_heard = self.changed(step)
        finishing.start()
        if step:
            until(lambda: is_heard() or statuses)
        else:
            finishing.join()
        kill(index)
        finishing.join()
        return statuses[0]


class ExclusiveInOneRequestTests(LargeUploadCase):
    """A store that ignores conditions when parts are completed gets larger files in parts."""

    name = "radosgw"

    def test_parts_are_sent_while_the_client_sends(self) -> None:
        """Parts are in the store before all has come; the file is visible only after the answer."""
        with killable(self.folder, self.settings) as index:
            client = self.begun(index)
            self.assertEqual((self.objects(), self.served(index)), ([], None))
            self.assertEqual(client.finish(), 200)
            self.assertTrue(self.served(index) == self.artifact.data)
            self.assertEqual(self.unfinished(), [])
