"""Downloads over HTTP, point by point (C40 to C49 of docs/reference/conformance.rst)."""

from __future__ import annotations

from hashlib import sha256
from urllib.parse import quote

from attrs import evolve

from pypid.core.errors import StorageDown
from pypid.core.permissions import AUTHENTICATED, Principals
from tests.distributions import sdist, sdist_filename, wheel, wheel_filename
from tests.web.full_app import Answer, Pypid, WholeCase, basic


class FileCase(WholeCase):
    """A pypid with a wheel in it."""

    def setUp(self) -> None:
        """Publish one."""
        super().setUp()
        self.filename, self.data = wheel_filename("foo"), wheel("foo")
        self.published(self.publish(self.filename, self.data))
        self.url = f"/packages/foo/{self.filename}"
        self.etag = f'"{sha256(self.data).hexdigest()}"'

    def fetch(self, *headers: tuple[str, str], method: str = "GET", url: str = "") -> Answer:
        return self.pypid.ask(method, url or self.url, *headers)


class DownloadTests(FileCase):
    """A file comes as it was published."""

    def test_whole(self) -> None:
        """Wheels, tarballs and zips come as octets with length, tag and Accept-Ranges, and never
        encoded (C40, C48).
        """
        for suffix in (".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz"):
            self.publish(
                sdist_filename("foo", "1", suffix=suffix), sdist("foo", "1", suffix=suffix)
            )
        files = self.pypid.page("foo")["files"]
        self.assertEqual(len(files), 6)
        for file in files:
            for wish in ("gzip", "zstd", "gzip, deflate, br", "identity", "*", None):
                asked = () if wish is None else (("Accept-Encoding", wish),)
                answer = self.fetch(*asked, url=f"/packages/foo/{file['filename']}")
                self.assertEqual(
                    (answer.status, answer["content-type"]), (200, "application/octet-stream")
                )
                self.assertIsNone(answer["content-encoding"])
                self.assertEqual(answer["accept-ranges"], "bytes")
                self.assertEqual(answer["etag"], f'"{file["hashes"]["sha256"]}"')
                self.assertEqual(sha256(answer.body).hexdigest(), file["hashes"]["sha256"])
                self.assertEqual(
                    (answer["content-length"], len(answer.body)), (str(file["size"]), file["size"])
                )

    def test_head(self) -> None:
        """HEAD has the head of GET: of the file and its metadata (C41)."""
        for url in (
            self.url,
            f"{self.url}.metadata",
            "/packages/foo/no-1.tar.gz",
            f"{self.url}.nothing",
        ):
            get, head = self.fetch(url=url), self.fetch(url=url, method="HEAD")
            self.assertEqual((head.status, head.head, head.body), (get.status, get.head, b""), url)

    def test_caching(self) -> None:
        """Files and metadata never change, and caches are told; both have tags that
        give 304 (C45).
        """
        for url in (self.url, f"{self.url}.metadata"):
            answer = self.fetch(url=url)
            self.assertEqual(answer["cache-control"], "public, max-age=31536000, immutable")
            again = self.fetch(("If-None-Match", answer["etag"] or ""), url=url)
            self.assertEqual((again.status, again.body, again["etag"]), (304, b"", answer["etag"]))
        tags = {self.fetch(url=url)["etag"] for url in (self.url, f"{self.url}.metadata")}
        self.assertEqual(len(tags), 2)

    def test_caching_where_files_may_change(self) -> None:
        """While somebody may overwrite, nothing is called immutable: an installer is never left
        with the older bytes (C45).
        """
        self.pypid.app.rules = evolve(
            self.pypid.app.rules, overwrite=Principals(users=frozenset({"alice"}))
        )
        for url in (self.url, f"{self.url}.metadata"):
            answer = self.fetch(url=url)
            self.assertEqual(answer["cache-control"], "no-cache")
            self.assertEqual(
                self.fetch(("If-None-Match", answer["etag"] or ""), url=url)["cache-control"],
                "no-cache",
            )
        self.pypid.app.rules = evolve(self.pypid.app.rules, read=AUTHENTICATED)
        self.assertEqual(self.fetch(basic("bob"))["cache-control"], "private, no-cache")

    def test_local_version(self) -> None:
        """A + in a file name works quoted and raw (C46)."""
        filename, data = self.have_wheel("foo", "1.0+cu118")
        for spelled_name in (
            filename,
            filename.replace("+", "%2B"),
            filename.replace("+", "%2b"),
            quote(filename),
        ):
            for beside in ("", ".metadata"):
                self.assertEqual(
                    self.fetch(url=f"/packages/foo/{spelled_name}{beside}").status,
                    200,
                    spelled_name,
                )
            self.assertEqual(self.fetch(url=f"/packages/foo/{spelled_name}").body, data)
        self.assertEqual(
            self.fetch(url=f"/packages/foo/{filename.replace('+', '%20')}").status, 404
        )

    def test_traversal(self) -> None:
        """No path leads out of what is published, however it is written (C49)."""
        record = f"{self.filename}.record.json"
        for path in (
            "..%2f..%2fetc%2fpasswd",
            "..%2f..",
            "../../etc/passwd",
            "foo/../../.pypid/storage.json",
            "..%5c..%5cetc",
            ".pypid/storage.json",
            "%2epypid/storage.json",
            "foo/..%2f..%2f.pypid%2fstorage.json",
            "foo/project.json",
            f"foo/{record}",
            f"foo/{self.filename}.yanked.json",
            f"foo/{self.filename}.metadata.metadata",
            f"foo/{self.filename}%00",
            f"foo/{self.filename}%00.whl",
            f"foo/./{self.filename}",
            f"foo//{self.filename}",
            f"bar/{self.filename}",
            f"foo/{self.filename.upper()}",
            "foo/",
            "foo",
            "%c0%ae%c0%ae/%c0%ae%c0%ae/etc/passwd",
            "....//....//etc/passwd",
            "foo/" + "a" * 5000,
        ):
            for method in ("GET", "HEAD"):
                answer = self.fetch(url=f"/packages/{path}", method=method)
                self.assertEqual(answer.status, 404, path)
        self.assertIn(f"foo/{record}", self.keys())

    def test_another_spelling_of_the_project(self) -> None:
        """A file is found by any spelling of its project's name (C19)."""
        self.assertEqual(self.fetch(url=f"/packages/FOO/{self.filename}").status, 200)

    def test_inert(self) -> None:
        """What somebody uploaded cannot run in a browser (C40)."""
        answer = self.fetch()
        self.assertEqual(answer["x-content-type-options"], "nosniff")
        self.assertIn("sandbox", answer["content-security-policy"] or "")


class RangeTests(FileCase):
    """Parts of files."""

    def part(self, wanted: str, *headers: tuple[str, str]) -> Answer:
        return self.fetch(("Range", wanted), *headers)

    def test_ranges(self) -> None:
        """First bytes, the rest, a suffix, a suffix longer than the file (C42)."""
        size = len(self.data)
        for wanted, start, stop in (
            ("bytes=0-9", 0, 10),
            ("bytes=5-", 5, size),
            ("bytes=-10", size - 10, size),
            ("bytes=-999999999", 0, size),
            (f"bytes=0-{size}", 0, size),
            (f"bytes={size - 1}-", size - 1, size),
            ("bytes=0-0", 0, 1),
            ("BYTES = 1-2", 1, 3),
            ("bytes=7-99999999999999999999", 7, size),
        ):
            answer = self.part(wanted)
            self.assertEqual((answer.status, answer.body), (206, self.data[start:stop]), wanted)
            self.assertEqual(answer["content-range"], f"bytes {start}-{stop - 1}/{size}")
            self.assertEqual(answer["content-length"], str(stop - start))
            self.assertEqual(answer["etag"], self.etag)
            self.assertIsNone(answer["content-encoding"])

    def test_unsatisfiable(self) -> None:
        """A range behind the end is 416 and says how long the file is (C42)."""
        for wanted in ("bytes=999999999-", f"bytes={len(self.data)}-", "bytes=-0"):
            answer = self.part(wanted)
            self.assertEqual((answer.status, answer.body), (416, b""), wanted)
            self.assertEqual(answer["content-range"], f"bytes */{len(self.data)}")

    def test_malformed(self) -> None:
        """A range that cannot be read is not there (C42)."""
        for wanted in (
            "bytes=",
            "bytes=-",
            "bytes=9-5",
            "bytes=a-b",
            "lines=1-2",
            "bytes=0-1,3-4",
            "\xff",
            "bytes=1-2-3",
            "5",
        ):
            answer = self.part(wanted)
            self.assertEqual((answer.status, answer.body), (200, self.data), wanted)

    def test_if_range(self) -> None:
        """A part is sent only of the file that the client has begun: by its tag or
        its date (C43).
        """
        modified = self.fetch()["last-modified"] or ""
        self.assertRegex(modified, r"^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$")
        for validator in (self.etag, modified):
            self.assertEqual(self.part("bytes=3-", ("If-Range", validator)).status, 206, validator)
        for validator in (
            f"W/{self.etag}",
            '"other"',
            "Thu, 01 Jan 1970 00:00:00 GMT",
            "nonsense",
            "*",
            self.etag.strip('"'),
        ):
            answer = self.part("bytes=3-", ("If-Range", validator))
            self.assertEqual((answer.status, answer.body), (200, self.data), validator)

    def test_resume(self) -> None:
        """What pip sends to resume gives the rest, which makes the whole (C43, C47)."""
        first = self.data[:100]
        rest = self.part("bytes=100-", ("If-Range", self.etag), ("Accept-Encoding", "identity"))
        self.assertEqual(rest.status, 206)
        self.assertTrue((rest["content-range"] or "").startswith("bytes 100-"))
        self.assertEqual(first + rest.body, self.data)

    def test_if_none_match(self) -> None:
        """The tag, weakly compared, in a list, or a star give 304; another tag gives the file
        (C44).
        """
        for tag in (self.etag, f"W/{self.etag}", f'"x", {self.etag}', "*"):
            answer = self.fetch(("If-None-Match", tag))
            self.assertEqual(
                (answer.status, answer.body, answer["etag"]), (304, b"", self.etag), tag
            )
        for tag in ('"other"', self.etag.strip('"'), "", "W/"):
            self.assertEqual(self.fetch(("If-None-Match", tag)).status, 200, tag)

    def test_if_modified_since(self) -> None:
        """A date gives 304, unless there is a tag, which goes first (C44)."""
        modified = self.fetch()["last-modified"] or ""
        self.assertEqual(self.fetch(("If-Modified-Since", modified)).status, 304)
        self.assertEqual(
            self.fetch(("If-Modified-Since", "Thu, 01 Jan 1970 00:00:00 GMT")).status, 200
        )
        self.assertEqual(
            self.fetch(("If-Modified-Since", modified), ("If-None-Match", '"other"')).status, 200
        )

    def test_if_match(self) -> None:
        """A condition that does not hold is 412, and nothing is sent (C44)."""
        self.assertEqual(self.fetch(("If-Match", '"other"')).status, 412)
        self.assertEqual(self.fetch(("If-Match", self.etag)).status, 200)


class LargeFileTests(WholeCase):
    """Files that do not go out at once."""

    def setUp(self) -> None:
        """Publish one of several pieces."""
        super().setUp()
        self.filename, self.data = (
            wheel_filename("big"),
            wheel("big", files={"big.bin": _noise(3 << 20)}, compression=0),
        )
        self.published(self.publish(self.filename, self.data))

    def test_whole(self) -> None:
        """All of it arrives (C40)."""
        answer = self.pypid.get(f"/packages/big/{self.filename}")
        self.assertEqual(
            (answer.status, len(answer.body), answer.body == self.data), (200, len(self.data), True)
        )

    def test_lost_bytes(self) -> None:
        """A file whose bytes the storage has lost is 503, with a word about it, and then off the
        page.
        """
        self.have(self.pypid.blobs.delete(f"big/{self.filename}"))
        asked = [
            self.pypid.ask(method, f"/packages/big/{self.filename}").status
            for method in ("HEAD", "GET")
        ]
        self.assertEqual(asked, [503, 404])
        self.assertEqual(self.pypid.page("big")["files"], [])


class StorageGoneTests(WholeCase):
    """While the storage is away."""

    def setUp(self) -> None:
        """Publish a file, and take the storage away."""
        super().setUp()
        self.filename, self.data = self.have_wheel("foo")
        self.page = self.pypid.page("foo")
        self.pypid.blobs.away = StorageDown("the disk is not there.")

    def test_pages(self) -> None:
        """Pages come out of memory: installers learn what there is."""
        self.assertEqual(self.pypid.page("foo"), self.page)
        self.assertEqual(self.pypid.names(), ["foo"])
        self.assertEqual(self.pypid.get("/health").status, 200)

    def test_files(self) -> None:
        """A file is 503 with Retry-After and advice, and no half answer; HEAD too."""
        for url in (self.filename, f"{self.filename}.metadata"):
            for method in ("GET", "HEAD"):
                answer = self.pypid.ask(method, f"/packages/foo/{url}")
                self.assertEqual((answer.status, answer["retry-after"]), (503, "30"), url)
                self.assertEqual(answer["cache-control"], "no-store")
        self.refused(
            self.pypid.get(f"/packages/foo/{self.filename}"), 503, "storage", "administrator"
        )

    def test_known_files_are_304(self) -> None:
        """Who has the file already is told that it is good."""
        tag = f'"{sha256(self.data).hexdigest()}"'
        self.assertEqual(
            self.pypid.get(f"/packages/foo/{self.filename}", None, ("If-None-Match", tag)).status,
            304,
        )

    def test_unknown_names(self) -> None:
        """A name that nobody knows is not called absent while nobody can look (C36): an installer
        would ask elsewhere.
        """
        self.pypid = Pypid(self.spool, blobs=self.pypid.blobs)
        self.refused(self.pypid.get("/simple/other/"), 503, "storage")

    def test_uploads(self) -> None:
        """An upload is 503, says what to do, and leaves nothing behind; later it works."""
        filename, data = wheel_filename("foo", "2"), wheel("foo", "2")
        self.refused(self.publish(filename, data), 503, "storage", "administrator")
        self.refused(self.publish(wheel_filename("new"), wheel("new")), 503)
        self.assertEqual((self.incoming(), self.pypid.page("foo")), ([], self.page))
        self.pypid.blobs.away = None
        self.published(self.publish(filename, data))
        self.published(self.publish(wheel_filename("new"), wheel("new")))

    def test_management(self) -> None:
        """So is every change; the page stays as it was."""
        for method, path in (
            ("PUT", f"/api/projects/foo/files/{self.filename}/yank"),
            ("DELETE", f"/api/projects/foo/files/{self.filename}/yank"),
            ("DELETE", "/api/projects/foo"),
            ("DELETE", "/api/names/foo"),
            ("POST", "/api/rebuild"),
            ("POST", "/api/rebuild/foo"),
        ):
            self.assertEqual(self.pypid.api(method, path).status, 503, path)
        self.assertEqual(
            self.pypid.api("PUT", "/api/projects/foo/status", {"status": "archived"}).status, 503
        )
        self.assertEqual(self.pypid.page("foo"), self.page)


def _noise(size: int) -> bytes:
    return b"".join(sha256(b"%d" % number).digest() for number in range(size // 32))
