"""Long listings: many pages, in order, each key once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pypid.core.errors import StorageDown
from tests.blobs.bucket import Stored, error
from tests.blobs.fake_s3 import as_usual, says
from tests.blobs.s3_cases import NOW, S3Case


class ListingTests(S3Case):
    """A bucket of many objects, listed in small pages."""

    def fill(self, *keys: str) -> list[str]:
        """Objects with these keys, put there by somebody; the keys in order."""
        for key in keys:
            self.bucket.objects[f"some/prefix-{key}"] = Stored(b"x", '"x"', NOW, {})
        return sorted(keys, key=str.encode)

    def many(self) -> list[str]:
        """Some projects with a file or two, some with many, objects between folders and beside
        them.
        """
        small = [
            f"p{number:03d}/f{file}" for number in range(120) for file in range(1 + number % 3)
        ]
        large = [f"p050/large-{number:03d}" for number in range(150)]
        odd = [
            "a",
            "p050",
            "p051-x",
            "p0500/x",
            "z",
            "zz/y/x",
            "\u00e4/x",
            "\U0001f40d/x",
            "p049/sub/folder/x",
            "%41/+ x",
        ]
        return self.fill(*small, *large, *odd)

    async def test_failures(self) -> None:
        """A page that cannot be had ends the listing with an error, wherever it is; a burst is
        ridden out.
        """
        expected = self.many()
        self.bucket.page = 20
        self.fake.script("ListObjectsV2", *[says(error("SlowDown", 503))] * 3)
        self.assertEqual(await self.keys(), expected)
        for good in (0, 1, 2, 5):
            usual = [as_usual] * good
            self.fake.scripts["ListObjectsV2"].clear()
            self.fake.script("ListObjectsV2", *usual, *[says(error("AccessDenied", 403))] * 100)
            await self.fails(StorageDown, self.keys())

    async def test_any_keys(self) -> None:
        """Random keys in random pages: the listing is what sorting gives."""
        cases: list[tuple[list[str], int]] = []
        part = st.text(st.sampled_from("ab-/\u00e4\U0001f40d+ %."), min_size=1, max_size=6)

        @settings(max_examples=25, deadline=None, database=None)
        @given(st.lists(part, max_size=40, unique=True), st.integers(1, 9))
        def collect(keys: list[str], page: int) -> None:
            cases.append((keys, page))

        collect()
        for keys, page in cases:
            self.bucket.objects.clear()
            self.bucket.page = page
            expected = [
                key
                for key in self.fill(*keys)
                if not any(part in ("", ".", "..") for part in key.split("/"))
            ]
            self.assertEqual(await self.keys(), expected, (keys, page))
