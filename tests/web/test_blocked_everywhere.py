"""A blocked file on every route of the table: none gives its bytes, its metadata, or a link, from
the acknowledgement of the block on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from attrs import frozen
from twisted.internet.error import ConnectionDone

from pypid.core.configuration.choices import Mode
from pypid.core.policy import Claims, Policy
from pypid.web.fastpath.channel import FastPath
from pypid.web.http.connections import HostPolicy
from pypid.web.http.site import Site
from pypid.web.root import resource
from tests.distributions import sdist, sdist_filename, wheel, wheel_filename
from tests.web.app_with_accounts import Peopled
from tests.web.fast_path_pair import Lines
from tests.web.full_app import Answer, Connection, J, Pypid, WholeCase, basic, spelled
from tests.web.memory_upstream import Elsewhere
from tests.web.routes import ALL_ROUTES

OURS, CACHED, LISTED = "acme-ours", "acme-cached", "acme-listed"
PROJECTS = (OURS, CACHED, LISTED)
MOMENT = "2026-01-03"
FORMATS = (J, "text/html")
NAMES_FILES = frozenset(
    {
        "/api/why/<project>",
        "/api/why/<project>/<filename>",
        "/project/<project>/-/why",
        "/project/<project>/-/settings",
        "/api/audit",
        "/api/blocks",
        "/manage/",
        "/manage/audit",
        "/manage/blocks",
        "/api/downloads",
        "/api/projects/<project>/downloads",
        "/api/cache",
        "/api/cache/<project>",
    }
)
"""Routes for administrators, writers and the statistics, which name a file and give nothing of it:
no link, no digest of its bytes that a client downloads by.
"""


@frozen
class Sample:
    """A file that is blocked, and one of the same project that is not."""

    project: str
    version: str = "1.0"

    @property
    def filename(self) -> str:
        """Its name."""
        return wheel_filename(self.project, self.version)

    @cached_property
    def data(self) -> bytes:
        """Its bytes."""
        return wheel(self.project, self.version)

    @cached_property
    def digest(self) -> str:
        """The digest of its bytes."""
        return sha256(self.data).hexdigest()


SAMPLES = [Sample(project) for project in PROJECTS]


def targets(sample: Sample) -> Iterator[tuple[str, str]]:
    """Every route that is asked with GET, and its address for this file."""
    values = {
        "project": sample.project,
        "filename": sample.filename,
        "version": sample.version,
        "python": "py3",
        "letter": sample.project[0],
        "name": "ada",
        "user": "ada",
        "kind": "everyone",
        "glob": "acme-*",
        "group": "devs",
        "permission": "read",
        "id": "a" * 16,
        "moment": MOMENT,
        "index": "default",
        "advisory": "GHSA-none",
        "block": "acme-00000000",
        "approval": "acme-00000000",
        "digest": "0" * 16,
        "page": "index.html",
    }
    for route in ALL_ROUTES:
        if "GET" not in route.methods:
            continue
        target = re.sub(r"<(?:\w+:)?(\w+)>", lambda match: values[match[1]], route.path)
        yield route.path, target
        if "<filename>" in route.path and target.endswith(sample.filename):
            yield route.path, f"{target}.metadata"
        if route.path in ("/search", "/api/search"):
            yield route.path, f"{target}?q={sample.project}"


class EverywhereTests(WholeCase):
    """Files and their pages, with the fast path and without."""

    def setUp(self) -> None:
        super().setUp()
        upstream = Elsewhere()
        for project in (CACHED, LISTED):
            for version in ("1.0", "2.0"):
                upstream.has(project, *self.file_of(Sample(project, version)))
            upstream.has(project, sdist_filename(project, "3.0"), sdist(project, "3.0"))
        policy = Policy(mode=Mode.CACHE, claims=Claims())
        self.pypid = Pypid(Path(self.mktemp()), policy=policy, upstream=upstream)
        self.people = Peopled(self.pypid, Path(self.mktemp()))
        for version in ("1.0", "2.0"):
            filename, data = self.file_of(Sample(OURS, version))
            self.published(self.publish(filename, data, pypid=self.pypid))
        for version in ("1.0", "2.0"):
            path = f"/packages/{CACHED}/{wheel_filename(CACHED, version)}"
            self.assertEqual(self.pypid.get(path).status, 200)
        self.assertEqual(self.pypid.get(f"/simple/{LISTED}/").status, 200)
        self.pypid.clock.advance(timedelta(days=5).total_seconds())
        fast_path = FastPath(self.pypid.app, Lines(self.pypid))
        self.hot = Site(
            resource(self.pypid.app),
            reactor=self.pypid.clock,
            fast_path=fast_path,
            hosts=HostPolicy(("*",)),
        )
        self.hot.startFactory()
        self.addCleanup(self.hot.stopFactory)

    def file_of(self, sample: Sample) -> tuple[str, bytes]:
        """Its name and its bytes."""
        return sample.filename, sample.data

    def ask_hot(self, target: str, accept: str) -> Answer | None:
        """The answer of the site with the fast path."""
        connection = Connection(self.hot)
        connection.send(spelled("GET", target, basic("ada"), ("Accept", accept)))
        answer = connection.answer("GET")
        if answer is not None:
            connection.lose(ConnectionDone())  # else the clock sorts the timeouts of thousands
        return answer

    def answers(self, sample: Sample) -> Iterator[tuple[str, str, Answer]]:
        """What every route answers an administrator, in every format."""
        for path, target in targets(sample):
            for accept in FORMATS:
                for answer in (
                    self.pypid.try_to_ask("GET", target, basic("ada"), ("Accept", accept)),
                    self.ask_hot(target, accept),
                ):
                    if answer is not None:
                        self.assertNotEqual(answer.status, 500, (target, answer))
                        yield path, target, answer

    def gives(self, sample: Sample, path: str, answer: Answer) -> str:
        """What the answer gives of the file: "" is nothing."""
        body = answer.body
        location = answer["Location"] or ""
        if sample.data[:200] in body or sample.data[-200:] in body:
            return "its bytes"
        if answer.status == 200 and body.startswith(b"Metadata-Version"):
            return "its metadata"
        if sample.filename in location and "/packages/" in location and "/-/" not in location:
            return "" if location.startswith("/") else "a link"
        if answer.status >= 400 or path in NAMES_FILES:
            return ""
        if sample.digest.encode() in body or sample.digest in str(answer.head):
            return "its digest"
        return "its name" if sample.filename.encode() in body else ""

    def test_all_routes(self) -> None:
        """Before the block the routes give the file; after it none does, and other versions stay;
        after it is deleted they give it again.
        """
        for sample in SAMPLES:
            other = Sample(sample.project, "2.0")
            giving = {
                path for path, _, each in self.answers(sample) if self.gives(sample, path, each)
            }
            self.assertLessEqual(
                {
                    "/simple/<project>/",
                    "/packages/<project>/<filename>",
                    "/pypi/<project>/json",
                    "/at/<moment>/simple/<project>/",
                    "/project/<project>/<version>/",
                },
                giving,
            )
            document = {"spec": f"{sample.project}==1.0", "reason": "bad"}
            made = self.pypid.api("POST", "/api/blocks", document)
            self.assertEqual(made.status, 200)
            given = {
                (target, what)
                for path, target, each in self.answers(sample)
                if (what := self.gives(sample, path, each))
            }
            self.assertEqual(given, set())
            page = self.pypid.page(sample.project, "ada")
            self.assertIn(other.filename, [file["filename"] for file in page["files"]])
            self.pypid.api("DELETE", f"/api/blocks/{made.json['id']}")
            again = {
                path for path, _, each in self.answers(sample) if self.gives(sample, path, each)
            }
            self.assertLessEqual(giving, again)

    def test_other_questions(self) -> None:
        """HEAD, ranges and conditions give nothing either: no size, no part, no confirmation."""
        for sample in SAMPLES:
            path = f"/packages/{sample.project}/{sample.filename}"
            tag = self.pypid.get(path)["ETag"]
            assert tag is not None
            questions = (
                ("HEAD", ()),
                ("GET", (("Range", "bytes=0-9"),)),
                ("GET", (("If-None-Match", tag),)),
                ("GET", (("If-Match", '"other"'),)),
                ("GET", (("Range", "bytes=5-"), ("If-Range", tag))),
            )
            document = {"spec": f"{sample.project}==1.0", "reason": "bad"}
            self.assertEqual(self.pypid.api("POST", "/api/blocks", document).status, 200)
            for method, headers in questions:
                answer = self.pypid.ask(method, path, *headers)
                self.assertEqual(answer.status, 403, (method, headers))
                self.assertIsNone(answer["ETag"])
                self.assertIsNone(answer["Content-Range"])

    def test_by_digest(self) -> None:
        """A block by digest reaches as far."""
        for sample in SAMPLES:
            document = {"spec": f"sha256:{sample.digest}", "reason": "bad"}
            self.assertEqual(self.pypid.api("POST", "/api/blocks", document).status, 200)
            given = {
                (target, what)
                for path, target, each in self.answers(sample)
                if path != "/api/blocks" and (what := self.gives(sample, path, each))
            }
            self.assertEqual(given, set())
