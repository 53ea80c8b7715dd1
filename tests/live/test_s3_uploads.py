"""Large uploads to a bucket, which pypid sends in parts, and a pypid that is killed meanwhile."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path
from threading import Thread
from typing import Final
from urllib.parse import unquote_plus

from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import BIN, LiveIndex, Settings, configuration, until_ready
from tests.live.processes import clean_environ, free_port, running, scratch
from tests.live.projects import publish
from tests.live.stores import store
from tests.live.stores.between import between
from tests.live.test_cache import large
from tests.live.test_s3 import PREFIX, Place, get

SIZE: Final = 65 << 20
"""Bytes of a file that is just too large for one request."""


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


class LargeUploadTests(SynchronousTestCase):
    """Uploads to a new bucket."""

    def setUp(self) -> None:
        self.s3 = self.enterContext(store())
        self.artifact = large("s3-large", size=SIZE)

    def begun(self) -> tuple[Path, Settings]:
        """The folder and the settings of a pypid over a new bucket."""
        self.place = Place(self.s3, self.s3.bucket(), self.enterContext(between(self.s3)))
        return self.enterContext(scratch()), Settings(bucket=self.place.lines())

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

    def test_killed_at_each_step(self) -> None:
        """Wherever pypid is killed, the file is there whole or not at all; an acknowledged one is
        there; and the next upload of it succeeds and leaves no parts of its own.
        """
        for step in ("?uploads", "partNumber=2", "POST ", ".metadata", ".record.json", ""):
            folder, settings = self.begun()
            with killable(folder, settings) as index:
                is_acknowledged = self.killed_at(step, index)
            left = self.unfinished()
            with killable(folder, settings) as index:
                data = self.served(index)
                self.assertTrue(data is None or data == self.artifact.data, step)
                self.assertTrue(data is not None or not is_acknowledged, step)
                publish(index, self.artifact)
                self.assertTrue(self.served(index) == self.artifact.data, step)
                self.assertEqual(self.unfinished(), left)

    def killed_at(self, step: str, index: LiveIndex) -> bool:
        """Upload, and kill pypid as soon as the store has heard this request; return whether the
        client got an answer.
        """
        answers: list[bool] = []

        def upload() -> None:
            with contextlib.suppress(OSError, HTTPException):
                publish(index, self.artifact)
                answers.append(True)

        is_heard = self.changed(step)
        uploading = Thread(target=upload, daemon=True)
        uploading.start()
        until(lambda: (step and is_heard()) or not uploading.is_alive())
        kill(index)
        uploading.join()
        return bool(answers)

    def changed(self, word: str) -> Callable[[], bool]:
        """Whether one more request that changes something has this word in it than now."""

        def changes() -> int:
            heard = (f"{heard.method} {heard.target}" for heard in self.place.before.heard())
            return sum(word in target and target.startswith(("PUT ", "POST ")) for target in heard)

        before = changes()
        return lambda: changes() > before
