"""Pages of another index that lead into this network: nothing there is asked, and nothing of it is
passed on.
"""

from __future__ import annotations

import json
from hashlib import sha256

from pypid.core.packaging.names import project_name
from pypid.core.records.layout import kept_key
from pypid.http_client import connections
from tests.distributions import metadata, wheel, wheel_filename
from tests.live.upstreams import sends
from tests.upstream.fake import J, says, status
from tests.upstream.proxy import ProxyCase

SECRET = b"the answer of an internal service"
WHEEL = wheel_filename()


class PrivateAddressTests(ProxyCase):
    """`internal` is a service on this machine that no client may read by way of the proxy."""

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.proxy = self.start(file_hosts=())
        self.internal = self.another()
        self.port = self.internal.port.getHost().port
        for path in (f"/{WHEEL}", f"/{WHEEL}.metadata", "/simple/spam/"):
            self.internal.scripts[path] = sends(SECRET)

    def lists(self, url: str, **fields: object) -> None:
        """The upstream's page names a wheel at this URL."""
        file = {"filename": WHEEL, "url": url, "hashes": {}, **fields}
        page = json.dumps(
            {"meta": {"api-version": "1.4"}, "name": "spam", "files": [file]}
        ).encode()
        self.script(says(page, Content_Type=J))

    async def is_refused(self, path: str, *headers: str) -> None:
        """The answer is 502 and names the key; the internal service was not asked."""
        got = await self.proxy.get(path, *headers)
        self.assertEqual(got.status, 502, got.body)
        self.assertIn(b"[upstream] file_hosts", got.body)
        self.assertNotIn(SECRET, got.body)
        self.assertEqual(self.internal.asked, [])

    async def test_file_at_a_private_address_is_refused(self) -> None:
        """A file whose URL leads to this machine under any spelling is 502, whole, in part, and its
        metadata.
        """
        for host in (
            "localhost",
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "0.0.0.0",
            "[::ffff:127.0.0.1]",
        ):
            self.lists(f"http://{host}:{self.port}/{WHEEL}", **{"core-metadata": True})
            self.proxy.pass_time()
            await self.is_refused(f"/packages/spam/{WHEEL}")
            await self.is_refused(f"/packages/spam/{WHEEL}", "Range: bytes=0-9")
            await self.is_refused(f"/packages/spam/{WHEEL}.metadata")

    async def test_redirect_to_a_private_address_is_refused(self) -> None:
        """A redirect of the upstream's own, of a file or of a page, leads into this network no more
        than a URL does.
        """
        self.lists(f"/own/{WHEEL}", **{"core-metadata": {"sha256": "a" * 64}})
        for path in (f"/own/{WHEEL}", f"/own/{WHEEL}.metadata", "/simple/eggs/"):
            target = path.rpartition("/own")[2] if "own" in path else "/simple/spam/"
            self.fake.scripts[path] = status(302, Location=f"http://127.0.0.1:{self.port}{target}")
        await self.is_refused(f"/packages/spam/{WHEEL}")
        await self.is_refused(f"/packages/spam/{WHEEL}", "Range: bytes=0-9")
        await self.is_refused(f"/packages/spam/{WHEEL}.metadata")
        await self.is_refused("/simple/eggs/")

    async def test_other_projects_are_not_affected(self) -> None:
        """A refused address tells nothing of the upstream, which is asked as before."""
        self.lists(f"http://127.0.0.1:{self.port}/{WHEEL}")
        for _ in range(5):
            await self.is_refused(f"/packages/spam/{WHEEL}")
        self.fake.scripts["/simple/eggs/"] = says(
            b'{"meta": {"api-version": "1.0"}, "name": "eggs", "files": []}', Content_Type=J
        )
        self.assertEqual((await self.proxy.page("eggs")).status, 200)

    async def test_listed_host_may_have_any_address(self) -> None:
        """What `file_hosts` names is asked wherever it is, in parts as well."""
        proxy = self.start(file_hosts=(f"127.0.0.1:{self.port}",))
        self.lists(f"http://127.0.0.1:{self.port}/{WHEEL}", size=len(SECRET))
        self.assertEqual(
            (await proxy.get(f"/packages/spam/{WHEEL}", "Range: bytes=4-9")).body, SECRET[4:10]
        )


class UnlistedHostTests(ProxyCase):
    """A file host with a public address that is not listed: only what is verified
    comes from there.
    """

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.patch(connections, "is_public", lambda address: True)
        self.proxy = self.start(file_hosts=())
        self.files = self.another()
        self.data = wheel()
        self.files.scripts[f"/{WHEEL}"] = sends(self.data)
        self.files.scripts[f"/{WHEEL}.metadata"] = says(b"anything")

    def lists(self, **fields: object) -> None:
        """The upstream's page names the wheel at the other host."""
        file = {
            "filename": WHEEL,
            "url": f"{self.files.url}/{WHEEL}",
            "hashes": {},
            "core-metadata": True,
            **fields,
        }
        page = json.dumps(
            {"meta": {"api-version": "1.4"}, "name": "spam", "files": [file]}
        ).encode()
        self.script(says(page, Content_Type=J))

    async def test_part_of_a_file_comes_from_the_whole_verified_one(self) -> None:
        """A range is answered, upstream is asked for the whole file, and that is kept."""
        self.lists(hashes={"sha256": sha256(self.data).hexdigest()}, size=len(self.data))
        got = await self.proxy.get(f"/packages/spam/{WHEEL}", "Range: bytes=4-9")
        self.assertEqual((got.status, got.body), (206, self.data[4:10]))
        self.assertEqual([asked.headers.get("range") for asked in self.files.asked], [None])
        await self.proxy.idle()
        self.assertIn(kept_key(project_name("spam"), WHEEL), await self.proxy.stored())

    async def test_part_of_a_file_with_a_wrong_hash_is_refused(self) -> None:
        """Of a small file whose hash is wrong not one byte is passed on."""
        self.lists(hashes={"sha256": "a" * 64}, size=len(self.data))
        got = await self.proxy.get(f"/packages/spam/{WHEEL}", "Range: bytes=4-9")
        self.assertNotIn(self.data[4:10], got.body)

    async def test_metadata_without_a_hash_comes_from_the_verified_file(self) -> None:
        """The page does not offer it, and it is what lies in the wheel all the same."""
        self.lists(hashes={"sha256": sha256(self.data).hexdigest()})
        self.assertNotIn(b'"core-metadata":true', (await self.proxy.page("spam")).body)
        got = await self.proxy.get(f"/packages/spam/{WHEEL}.metadata")
        self.assertEqual((got.status, got.body), (200, metadata()))
        self.assertNotIn(f"/{WHEEL}.metadata", [asked.path for asked in self.files.asked])

    async def test_nothing_unverified(self) -> None:
        """Of a file without any hash neither a part nor the metadata is passed on."""
        self.lists(size=len(self.data))
        for path, *headers in (
            (f"/packages/spam/{WHEEL}.metadata",),
            (f"/packages/spam/{WHEEL}", "Range: bytes=4-9"),
        ):
            got = await self.proxy.get(path, *headers)
            self.assertEqual((path, got.status), (path, 502))
            self.assertIn(b"[upstream] file_hosts", got.body)
