"""Real clients and a real pypid whose files lie in a bucket of a server that verifies each
signature.
"""

import atexit
import base64
import functools
import http.client
import json
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from attrs import frozen

from tests.live.daemon import PASSWORDS, IndexTestCase, LiveIndex, Settings, for_each, shared
from tests.live.isolation import pip, uv, works
from tests.live.projects import Artifact, call, listed, publish, sdist, wheel
from tests.live.stores import Store, store
from tests.live.stores.between import Between, between
from tests.live.test_install import NEWEST, installed
from tests.live.test_upload import Attempt, by_twine, uv_publish

PREFIX: Final = "team a+b/"
SIGNED: Final = "X-Amz-Signature"


@frozen
class Got:
    """An answer, by pypid or the store."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def location(self) -> str:
        """Where a redirect leads."""
        return self.headers["Location"]


def get(url: str, method: str = "GET", user: str | None = None, **headers: str) -> Got:
    """One request; no redirect is followed."""
    parts = urlsplit(url)
    if user is not None:
        headers["Authorization"] = (
            "Basic " + base64.b64encode(f"{user}:{PASSWORDS[user]}".encode()).decode()
        )
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    try:
        connection.request(
            method, f"{parts.path}?{parts.query}" if parts.query else parts.path, headers=headers
        )
        answer = connection.getresponse()
        return Got(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


@frozen
class Place:
    """A bucket, and what stands before it."""

    s3: Store
    bucket: str
    before: Between

    def lines(self, more: str = "") -> str:
        """What pypid is told, and that it should tell all that it does."""
        told = {
            "backend": "s3",
            "bucket": self.bucket,
            "prefix": PREFIX,
            "region": self.s3.region,
            "endpoint_url": self.before.endpoint,
            "access_key": self.s3.access_key,
            "secret_key": self.s3.secret_key,
        }
        return "\n".join(
            [*(f"{key} = {value}" for key, value in told.items()), more, "[log]", "level = debug"]
        )

    def ask(self, method: str, key: str, body: bytes = b"") -> bytes:
        """What the store itself says of an object of pypid's."""
        answer = self.s3.ask(method, f"/{self.bucket}/{PREFIX}{key}", body)
        assert answer.status in (200, 204), (answer.status, answer.body)
        return answer.body

    def keys(self, prefix: str) -> list[str]:
        """The keys of pypid's objects with this prefix, in the bucket."""
        query = {"list-type": "2", "prefix": PREFIX + prefix}
        return self.s3.ask("GET", f"/{self.bucket}", query=query).find("Key")


@functools.cache
def place_of(what: str) -> Place:
    """A bucket for all tests of one kind, until the process ends."""
    stack = ExitStack()
    atexit.register(stack.close)
    s3 = stack.enter_context(store())
    return Place(s3, s3.bucket(), stack.enter_context(between(s3)))


class BucketCase(IndexTestCase):
    """Tests against the shared pypid over a bucket."""

    more = ""
    """Lines of ``[storage]``."""
    read = "everyone"

    def start(self) -> LiveIndex:
        self.place = place_of(type(self).__name__)
        self.before = self.place.before
        index = self.begun(Settings(read=self.read, bucket=self.place.lines(self.more)))
        self.addCleanup(self.check_secrets)
        return index

    def begun(self, settings: Settings) -> LiveIndex:
        """One for all tests; or another."""
        return shared(settings)

    def check_secrets(self) -> None:
        """Neither the secret nor a URL that lets anybody in is in its log."""
        for word in (self.place.s3.secret_key, SIGNED, "Signature="):
            self.assertNotIn(word, self.index.log())

    def packages(self, artifact: Artifact, name: str) -> str:
        """The URL of a file."""
        return self.index.url(f"/packages/{name}/{artifact.filename}")

    def downloads(self, artifact: Artifact) -> list[tuple[str, str]]:
        """What others than pypid asked the store for this file; none of them told it a password."""
        found = [
            heard
            for heard in self.before.heard(artifact.filename.replace("+", "%2B"))
            if "pypid/" not in heard.agent
        ]
        for heard in found:
            self.assertNotIn("authorization", heard.headers)
            self.assertNotIn("cookie", heard.headers)
            self.assertIn(SIGNED, heard.target)
        return [(heard.agent.partition("/")[0], heard.method) for heard in found]

    def publish_all(self, name: str) -> tuple[Artifact, ...]:
        """Wheels, one of a local version, and an sdist."""
        found = wheel(f"{name}-plain"), wheel(f"{name}-local", "1.0+cu118"), sdist(f"{name}-source")
        publish(self.index, *found)
        return found

    def check_installed(self, name: str, target: Path) -> None:
        """They are there."""
        found = {item.replace("-", "_", item.count("-") - 1) for item in installed(target)}
        name = name.replace("-", "_")
        self.assertEqual(
            found, {f"{name}_plain-1.0", f"{name}_local-1.0+cu118", f"{name}_source-1.0"}
        )


class RedirectTests(BucketCase):
    """What holds towards any store; here it is radosgw."""

    def test_answers(self) -> None:
        """A GET is sent to a signed URL, which nobody may keep; it gives the bytes under the right
        name, and parts of them (C50).
        """
        artifact = wheel("s3-answers")
        publish(self.index, artifact)
        url = self.packages(artifact, "s3-answers")
        sent = get(url)
        self.assertEqual((sent.status, sent.body), (302, b""))
        self.assertEqual(sent.headers["Cache-Control"], "private, no-store")
        self.assertIn(SIGNED, sent.location)
        self.assertTrue(sent.location.startswith(self.before.endpoint))
        given = get(sent.location)
        self.assertEqual((given.status, given.body), (200, artifact.data))
        self.assertEqual(given.headers["Content-Type"], "application/octet-stream")
        self.assertEqual(
            given.headers["Content-Disposition"], f'attachment; filename="{artifact.filename}"'
        )
        self.assertIsNone(given.headers["Content-Encoding"])
        part = get(sent.location, Range="bytes=10-19")
        self.assertEqual((part.status, part.body), (206, artifact.data[10:20]))
        self.assertEqual(get(url).location, sent.location)

    def test_odd_names(self) -> None:
        """Files of local versions and of epochs are published by twine and uv, redirected to, and
        had whole.
        """
        for version, put in ("1!2.0+ubuntu.1", by_twine), ("1!2.1+b", uv_publish):
            attempt = Attempt(self.index, self.folder, "s3-odd", version)
            ended = put(attempt)
            self.assertEqual(ended.status, 0, ended.said)
            for artifact in attempt.artifacts:
                given = get(get(self.packages(artifact, "s3-odd")).location)
                self.assertEqual((given.status, given.body), (200, artifact.data))
                self.assertIn(
                    f'filename="{artifact.filename}"', given.headers["Content-Disposition"]
                )
        self.assertEqual(len(listed(self.index, "s3-odd")), 4)
        target = self.folder / "target"
        works(uv(self.index.url(), "--target", target, "s3-odd==1!2.0+ubuntu.1"), self.folder)
        self.assertEqual(len(installed(target)), 1)

    def test_promotion(self) -> None:
        """An index is filled with twine and promoted: one copy inside the bucket for each object
        that a file has there, and no bytes through pypid. The target gives the same bytes.
        """
        name = "s3-next"
        wish = json.dumps({"name": name, "values": {"write": "alice"}}).encode()
        call(self.index, "POST", "/api/indexes", wish, user="admin")
        attempt = Attempt(self.index, self.folder, "s3-staged", path=f"/{name}/legacy/")
        ended = by_twine(attempt)
        self.assertEqual(ended.status, 0, ended.said)
        where = f".pypid/index/{name}/"
        records = (".record.json", ".history.json")
        stored = [key for key in self.place.keys(where) if not key.endswith(records)]
        wheel_file, source = attempt.artifacts
        files = {f"s3-staged/{each.filename}" for each in (wheel_file, source)}
        files.add(f"s3-staged/{wheel_file.filename}.metadata")
        self.assertEqual({key.removeprefix(PREFIX + where) for key in stored}, files)
        wish = json.dumps({"source": name, "releases": ["s3-staged==1.0"]}).encode()
        call(self.index, "POST", "/api/indexes/default/promotions", wish, user="alice")
        copies = [
            heard.target
            for heard in self.before.heard("s3-staged/")
            if "x-amz-copy-source" in heard.headers
        ]
        self.assertEqual(len(copies), len(stored))
        self.assertEqual(len(set(copies)), len(stored))
        for artifact in attempt.artifacts:
            given = get(get(self.packages(artifact, "s3-staged")).location)
            self.assertEqual((given.status, given.body), (200, artifact.data))
            for base in "", where:
                self.assertEqual(
                    self.place.ask("GET", f"{base}s3-staged/{artifact.filename}"), artifact.data
                )
        call(self.index, "DELETE", f"/api/indexes/{name}?force", user="admin")
        self.assertEqual(self.place.keys(where), [])
        self.assertEqual(len(listed(self.index, "s3-staged")), 2)

    @for_each("pip-20-on-2.7", "pip-23-on-3.11", NEWEST)
    def pip(self, name: str) -> None:
        """This pip installs from the bucket: a wheel, a local version, and an sdist that it builds
        (C50).
        """
        project = "s3-" + name.replace(".", "-")
        artifacts = self.publish_all(project)
        target = self.folder / "target"
        what = (f"{project}-plain", f"{project}-local==1.0+cu118", f"{project}-source")
        works(pip(name, "install", self.index.url(), "--target", target, *what), self.folder)
        self.check_installed(project, target)
        for artifact in artifacts:
            self.assertEqual(self.downloads(artifact), [("pip", "GET")])

    def test_uv(self) -> None:
        """uv installs from the bucket, and asks for no file a second time, whatever else it forgets
        (C50).
        """
        artifacts = self.publish_all("s3-uv")
        what = ("s3-uv-plain", "s3-uv-local==1.0+cu118", "s3-uv-source")
        for again in "first", "second":
            works(uv(self.index.url(), "--target", self.folder / again, *what), self.folder)
            self.check_installed("s3-uv", self.folder / again)
        for artifact in artifacts:
            self.assertEqual(self.downloads(artifact), [("uv", "GET")])


class PrivateTests(BucketCase):
    read = "authenticated"

    def test_guard(self) -> None:
        """Nobody gets a signed URL who may not read; nor does one who may tell the store who they
        are.
        """
        artifact = wheel("s3-private")
        publish(self.index, artifact)
        url = self.packages(artifact, "s3-private")
        refused = get(url)
        self.assertEqual((refused.status, refused.headers["Location"]), (401, None))
        sent = get(url, user="bob")
        self.assertEqual((sent.status, sent.headers["Cache-Control"]), (302, "private, no-store"))
        self.assertNotIn(PASSWORDS["bob"], sent.location)
        self.assertEqual(get(sent.location).body, artifact.data)

    @for_each("pip-20-on-3.8", NEWEST)
    def pip(self, name: str) -> None:
        """pip's password for pypid does not go to the store."""
        project = "s3-private-" + name.replace(".", "-")
        artifact = wheel(project)
        publish(self.index, artifact)
        works(
            pip(
                name, "install", self.index.url(user="bob"), "--target", self.folder / "t", project
            ),
            self.folder,
        )
        self.assertEqual(self.downloads(artifact), [("pip", "GET")])

    def test_uv(self) -> None:
        """uv's password for pypid does not go to the store, also where it has signs in it that have
        to be quoted.
        """
        artifact = wheel("s3-private-uv")
        publish(self.index, artifact)
        works(
            uv(self.index.url(user="carol"), "--target", self.folder / "t", "s3-private-uv"),
            self.folder,
        )
        self.assertEqual(self.downloads(artifact), [("uv", "GET")])


class EndingTests(BucketCase):
    more = "expire_after = 10s\nbuffer_time = 5s"

    def test_end(self) -> None:
        """A signed URL is given again until the buffer before its end, then another one; at its end
        the store refuses it.
        """
        artifact = wheel("s3-ending")
        publish(self.index, artifact)
        url = self.packages(artifact, "s3-ending")
        first = get(url).location
        self.assertEqual(get(url).location, first)
        self.assertEqual(parse_qs(urlsplit(first).query)["X-Amz-Expires"], ["10"])
        time.sleep(5.5)
        second = get(url).location
        self.assertNotEqual(second, first)
        self.assertEqual([get(where).status for where in (first, second)], [200, 200])
        time.sleep(6)
        self.assertEqual(get(first).status, 403)
