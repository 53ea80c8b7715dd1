"""Variant wheels over HTTP: uploads, and the lists of variants."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from pypid.core.model import Status
from pypid.core.packaging.names import project_name
from pypid.core.packaging.variants import LARGEST_METADATA
from tests.distributions import variant_metadata, variant_wheel, wheel, wheel_filename
from tests.web.full_app import HOST, PRIVATE, Pypid, WholeCase

SPAM = project_name("spam")
LIST = "spam-1.0-variants.json"
JSON = "application/vnd.pypi.simple.v1+json"


class VariantCase(WholeCase):
    """A pypid that accepts variant wheels."""

    def setUp(self) -> None:
        super().setUp()
        self.pypid = Pypid(Path(self.mktemp()), variants=True, indexes=())

    def have_variant(
        self, label: str, *speeds: str, target: str = "/legacy/", **options: Any
    ) -> str:
        """Publish a variant wheel; its file name."""
        filename, data = variant_wheel(label, speeds, **options)
        self.published(self.publish(filename, data, target=target))
        return filename

    def listed(self, page: str = "/simple/spam/") -> dict[str, dict[str, Any]]:
        """The files on a page, by name."""
        answer = self.pypid.get(page, JSON)
        self.assertEqual(answer.status, 200, answer)
        return {file["filename"]: file for file in answer.json["files"]}

    def variants(self, page: str = "/simple/spam/") -> list[str]:
        """The labels in the list that the page names, which is what the page says it is."""
        file = self.listed(page)[LIST]
        url = urljoin(f"http://{HOST}{page}", file["url"]).removeprefix(f"http://{HOST}")
        answer = self.pypid.get(url)
        self.assertEqual(answer.status, 200, answer)
        self.assertEqual(file["hashes"], {"sha256": sha256(answer.body).hexdigest()})
        self.assertEqual(file["size"], len(answer.body))
        return sorted(json.loads(answer.body)["variants"])


class ListTests(VariantCase):
    """The list of a release's variants."""

    def test_made_of_wheels(self) -> None:
        """The list follows the wheels of the release: those added, yanked and deleted (C124)."""
        self.have_wheel()
        self.assertNotIn(LIST, self.listed())
        self.refused(self.pypid.get(f"/packages/spam/{LIST}"), 404)
        fast = self.have_variant("fast", "fast")
        self.assertEqual(self.variants(), ["fast"])
        self.have_variant("null")
        self.assertEqual(self.variants(), ["fast", "null"])
        self.have(self.pypid.index.yank(SPAM, [fast], "slow after all"))
        self.assertEqual(self.variants(), ["fast", "null"])
        self.have(self.pypid.index.delete(SPAM, [fast], "alice"))
        self.assertEqual(self.variants(), ["null"])
        null = next(name for name in self.listed() if name.endswith("-null.whl"))
        self.have(self.pypid.index.delete(SPAM, [null], "alice"))
        self.assertNotIn(LIST, self.listed())
        self.refused(self.pypid.get(f"/packages/spam/{LIST}"), 404)

    def test_html(self) -> None:
        """The HTML page has the same link, with the hash."""
        self.have_variant("fast", "fast")
        entry = self.listed()[LIST]
        digest = entry["hashes"]["sha256"]
        page = self.pypid.get("/simple/spam/", "text/html").text
        self.assertIn(f'href="../../packages/spam/{LIST}#sha256={digest}"', page)

    def test_entry(self) -> None:
        """The entry has what clients need, and nothing of a distribution."""
        fast = self.have_variant("fast", "fast")
        self.pypid.clock.advance(100)
        self.have_variant("null")
        files = self.listed()
        self.assertEqual(
            set(files[LIST]), {"filename", "url", "hashes", "size", "upload-time", "yanked"}
        )
        self.assertFalse(files[LIST]["yanked"])
        # of the first wheel, for clients that ignore what is younger than a time
        self.assertEqual(files[LIST]["upload-time"], files[fast]["upload-time"])

    def test_head(self) -> None:
        """Caches ask for the list each time, since it changes under its name."""
        self.have_variant("fast", "fast")
        answer = self.pypid.get(f"/packages/spam/{LIST}")
        self.assertIn("no-cache", answer["Cache-Control"])
        tag = answer["ETag"]
        again = self.pypid.ask("GET", f"/packages/spam/{LIST}", ("If-None-Match", tag))
        self.assertEqual(again.status, 304)
        head = self.pypid.ask("HEAD", f"/packages/spam/{LIST}")
        self.assertEqual(head["Content-Length"], str(len(answer.body)))
        self.refused(self.pypid.get(f"/packages/spam/{LIST}.metadata"), 404)
        self.refused(self.pypid.get(f"/packages/spam/{LIST}.asc"), 404)
        self.refused(self.pypid.get("/packages/spam/spam-2.0-variants.json"), 404)
        self.refused(self.pypid.get("/packages/eggs/eggs-2.0-variants.json"), 404)

    def test_stored_files_only(self) -> None:
        """The pages of stored files have the list, too."""
        self.have_variant("fast", "fast")
        self.assertEqual(self.variants("/local/spam/"), ["fast"])

    def test_as_of(self) -> None:
        """The index as of a time has the list of that time."""
        self.have_variant("fast", "fast")
        self.pypid.clock.advance(100)
        before = self.pypid.world.now()
        self.pypid.clock.advance(100)
        self.have_variant("null")
        then = f"/at/{before:%Y-%m-%dT%H:%M:%SZ}/simple/spam/"
        self.assertEqual(self.variants(then), ["fast"])
        self.assertEqual(self.variants(), ["fast", "null"])

    def test_restarted(self) -> None:
        """The list is made of records: a pypid that starts on the storage serves the same."""
        self.have_variant("fast", "fast")
        self.have_variant("null")
        before = self.listed()[LIST]
        self.assertEqual([key for key in self.keys() if "variants.json" in key], [])
        self.pypid = Pypid(Path(self.mktemp()), blobs=self.pypid.blobs)
        self.have(self.pypid.index.reconcile())
        self.assertEqual(self.listed()[LIST], before)
        self.assertEqual(self.variants(), ["fast", "null"])

    def test_named_index(self) -> None:
        """A named index lists the variants that it has or inherits, below its own address."""
        self.have_variant("fast", "fast")
        made = self.pypid.api("POST", "/api/indexes", {"name": "team"})
        self.assertEqual(made.status, 201, made)
        self.assertEqual(self.variants("/team/simple/spam/"), ["fast"])
        filename, data = variant_wheel("null", name="eggs")
        self.published(self.publish(filename, data, target="/team/legacy/"))
        files = self.listed("/team/simple/eggs/")
        self.assertIn("eggs-1.0-variants.json", files)
        self.assertEqual(self.pypid.get("/team/packages/eggs/eggs-1.0-variants.json").status, 200)
        self.refused(self.pypid.get("/packages/eggs/eggs-1.0-variants.json"), 404)


class UploadTests(VariantCase):
    """Uploads of variant wheels."""

    def test_refused_by_default(self) -> None:
        """Without the switch, the file name is refused as ever, and nothing is stored."""
        self.pypid = Pypid(Path(self.mktemp()))
        filename, data = variant_wheel("fast", ["fast"])
        self.refused(self.publish(filename, data), 400, "build number")
        self.assertEqual(self.keys(), [])

    def test_bad_metadata(self) -> None:
        """A wheel whose metadata no client can read is refused, with the reason (C124)."""
        wrong = variant_metadata("slow", ["fast"])
        large = json.dumps(variant_metadata("fast", ["fast"])).encode() + b" " * LARGEST_METADATA
        for metadata, words in (
            (b"", "variant.json cannot be read"),
            (b"[" * 5000, "variant.json cannot be read"),
            (wrong, "variants must have one entry, 'fast'"),
            (large, "larger than the 8 KiB"),
        ):
            filename, data = variant_wheel("fast", metadata=metadata)
            self.refused(self.publish(filename, data), 400, words)
        name = f"{wheel_filename()[:-4]}-fast.whl"
        self.refused(self.publish(name, wheel()), 400, "lacks 'spam-1.0.dist-info/variant.json'")
        self.assertEqual(self.keys(), [])

    def test_contradiction(self) -> None:
        """A wheel that contradicts those published is refused; the same bytes may come again."""
        self.have_variant("fast", "fast")
        self.have_variant("fast", "fast")
        other = variant_wheel("fast", ["slow"], tag="cp311-none-any")
        self.refused(self.publish(*other), 400, "other properties")
        self.assertEqual(self.variants(), ["fast"])
        self.have_variant("fast", "fast", tag="cp311-none-any")
        self.assertEqual(self.variants(), ["fast"])


class HiddenTests(VariantCase):
    """The list shows nothing that a client may not read."""

    def test_not_readable(self) -> None:
        """A client that may not read the project gets the same answer as for its files."""
        self.pypid = Pypid(Path(self.mktemp()), variants=True, rules=PRIVATE)
        filename, data = variant_wheel("fast", ["fast"])
        self.published(self.publish(filename, data))
        for path in (LIST, filename, "spam-9-variants.json"):
            self.refused(self.pypid.get(f"/packages/spam/{path}"), 401)
        self.assertEqual(self.pypid.get(f"/packages/spam/{LIST}", user="alice").status, 200)

    def test_quarantined(self) -> None:
        """A quarantined project has no list."""
        self.have_variant("fast", "fast")
        self.have(self.pypid.index.set_status(SPAM, Status.QUARANTINED, ""))
        self.assertEqual(self.listed(), {})
        self.refused(self.pypid.get(f"/packages/spam/{LIST}"), 404)
