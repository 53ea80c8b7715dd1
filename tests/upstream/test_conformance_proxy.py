"""Checklist points C34 to C36: what a proxy makes of what upstream says."""

# trial and Twisted's transports are not annotated
from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

from tests.index.file_cache_cases import noise
from tests.upstream.fake import J, page, says
from tests.upstream.proxy import ProxyCase

DATA = noise(1000)
DIGEST = sha256(DATA).hexdigest()
FILENAME = "spam-1.0.tar.gz"


def entry(filename: str = FILENAME, **more: object) -> dict[str, object]:
    """A file on a page of upstream's, as it should be; None in `more` is null."""
    return {
        "filename": filename,
        "url": f"/files/{filename}",
        "hashes": {"sha256": DIGEST},
        "size": len(DATA),
        **more,
    }


class SanitisingTests(ProxyCase):
    """C34: what no client could read is put right."""

    async def said(self, *files: object, **more: Any) -> dict[str, Any]:
        """The page that pypid makes of one of upstream's with these entries."""
        self.script(says(page(files=files, **more), Content_Type=more.pop("content_type", J)))
        self.proxy.pass_time()
        answer = await self.proxy.page("spam")
        self.assertEqual((answer.status, answer.head["content-type"]), (200, J), answer.text)
        document: dict[str, Any] = json.loads(answer.body)
        self.valid(document)
        return document

    def valid(self, document: dict[str, Any]) -> None:
        """It has what uv demands (which rejects the whole page for one null), and nothing that is
        not in the specification.
        """
        sizes = [file.get("size") for file in document["files"]]
        self.assertEqual(document["meta"]["api-version"], "1.0" if None in sizes else "1.4")
        for file in document["files"]:
            self.assertEqual(
                set(file) & {"filename", "url", "hashes"}, {"filename", "url", "hashes"}
            )
            self.assertFalse(any(value is None or value == "" for value in file.values()), file)
            known = {
                "filename",
                "url",
                "hashes",
                "size",
                "upload-time",
                "requires-python",
                "yanked",
                "core-metadata",
            }
            self.assertEqual(set(file) - known - {"dist-info-metadata", "provenance"}, set())
            if "upload-time" in file:
                self.assertRegex(
                    file["upload-time"], r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z\Z"
                )
            if "size" in file:
                self.assertIs(type(file["size"]), int)

    async def test_unknown_keys(self) -> None:
        """C34: unknown keys, and those of api 1.5 with its namespaces, of any depth, are not passed
        on.
        """
        more = {
            "alternate-locations": ["https://x.example/"],
            "namespaces": {"acme": {"x": [1]}},
            "_private": 1,
            "tracks": [],
        }
        document = await self.said(
            entry(namespace="acme", _internal=[{}]),
            meta={"api-version": "1.5", "_last-serial": 5, "tracks": []},
            **more,
        )
        self.assertEqual(
            set(document),
            {"meta", "name", "versions", "files"} | ({"project-status"} & set(document)),
        )
        self.assertEqual(set(document["meta"]) - {"_last-serial"}, {"api-version"})


HTML = """<!DOCTYPE html><html><head><meta name="pypi:repository-version" content="1.0">
<base href="{base}"><title>Links for spam</title></head><body><h1>Links for spam</h1>
<A HREF='../files/spam-1.0.tar.gz#sha256={digest}' data-requires-python="&gt;=3.8,&lt;4">spam-1.0.tar.gz</a><br>
<a class=x href=spam-2.0.tar.gz#md5={md5} data-yanked="bad &amp; old">spam-2.0.tar.gz</a><br/>
<a href="https://elsewhere.example/x/spam-3.0-py3-none-any.whl#sha256={digest}" data-core-metadata="sha256={digest}"
 data-gpg-sig="true" rel="internal">any text</a>
<a href="#top">top</a> <a>nothing</a> <a href="mailto:x@example.org">x</a>
</body></html>"""


class HtmlOnlyTests(ProxyCase):
    """C35: an index that speaks HTML alone."""

    async def test_as_json(self) -> None:
        """C35: its page comes as JSON, of version 1.0 as long as sizes are not known, with all that
        it says; links count from its <base>.
        """
        text = HTML.format(base=f"{self.fake.url}/deep/down/", digest=DIGEST, md5="b" * 32)
        self.script(says(text.encode(), Content_Type="text/html; charset=utf-8"))
        document = json.loads((await self.proxy.page("spam")).body)
        self.assertEqual((document["meta"]["api-version"], document["name"]), ("1.0", "spam"))
        first, second, third = document["files"]
        self.assertEqual(
            (first["requires-python"], first["hashes"]), (">=3.8,<4", {"sha256": DIGEST})
        )
        self.assertEqual((second["yanked"], second["hashes"]), ("bad & old", {"md5": "b" * 32}))
        self.assertEqual(
            (third["filename"], third["core-metadata"]),
            ("spam-3.0-py3-none-any.whl", {"sha256": DIGEST}),
        )
        self.assertFalse(any("size" in file for file in document["files"]))
        self.script(says(DATA), "/deep/files/spam-1.0.tar.gz")
        self.assertEqual((await self.proxy.get(f"/packages/spam/{FILENAME}")).body, DATA)
