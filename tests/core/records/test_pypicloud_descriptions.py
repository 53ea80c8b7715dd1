"""What pypicloud says of a file beside its bytes."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import Unreadable
from pypid.core.model import StoredFile
from pypid.core.packaging.names import project_name
from pypid.core.records.pypicloud_descriptions import (
    PypicloudDescription,
    of_json,
    of_texts,
)

quick = settings(max_examples=60, deadline=None, database=None)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
NAMES = st.sampled_from(
    (
        "name",
        "version",
        "summary",
        "requires-python",
        "requires_python",
        "hash_sha256",
        "hash-md5",
        "uploader",
    )
)


def file_of(
    summary: str | None, uploader: str | None, requires_python: str | None = None
) -> StoredFile:
    """A file of ours that is said to be so."""
    return StoredFile(
        project=project_name("spam"),
        key="spam/spam-1.0.tar.gz",
        filename="spam-1.0.tar.gz",
        version="1.0",
        sha256="a" * 64,
        size=1,
        uploaded=datetime(2026, 1, 1, tzinfo=UTC),
        summary=summary,
        uploader=uploader,
        requires_python=requires_python,
    )


class DescriptionTests(SynchronousTestCase):
    """Reading and writing."""

    @quick
    @given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
    def test_any_bytes(self, data: bytes) -> None:
        """Whatever a .meta holds, it is a description or cannot be read."""
        try:
            self.assertIsInstance(of_json(data, "x"), PypicloudDescription)
        except Unreadable as error:
            self.assertIn("x", str(error))

    @quick
    @given(st.dictionaries(NAMES, st.text() | st.none() | st.integers()))
    def test_any_texts(self, texts: dict[str, object]) -> None:
        """Whatever is said, what is taken over can be served: printable, short, hashes that are
        some.
        """
        found = of_texts(texts)
        for text in (
            found.name,
            found.version,
            found.summary,
            found.requires_python,
            found.uploader,
        ):
            self.assertTrue(text is None or (text and text.isprintable() and len(text) <= 512))
        self.assertTrue(found.sha256 is None or len(found.sha256) == 64)
        self.assertTrue(found.md5 is None or len(found.md5) == 32)

    def test_endless_words(self) -> None:
        """What looks like encoded words without end is left as it is: decoding a megabyte of them
        takes a second.
        """
        text = f"=?utf-8?q?{'a' * 9000}?="
        self.assertEqual(of_texts({"summary": text}).summary, text[:512])

    def test_encoded_words(self) -> None:
        """What S3 gives as an encoded word is read; what only looks like one is left as it is."""
        for text, summary in (
            ("=?UTF-8?B?TMO2dmVseQ==?=", "L\u00f6vely"),
            ("=?UTF-8?Q?L=C3=B6vely?=", "L\u00f6vely"),
            ("=?what?B?TMO2dmVseQ==?=", "=?what?B?TMO2dmVseQ==?="),
            ("=?UTF-8?B?/w==?=", "=?UTF-8?B?/w==?="),
            ("=??=", "=??="),
        ):
            self.assertEqual(of_texts({"summary": text}).summary, summary)

    def test_odd(self) -> None:
        """What is no use is told, and nothing is taken over of it; upper-case hashes are hashes."""
        found = of_texts(
            {
                "requires-python": "three",
                "hash-sha256": "A" * 64,
                "hash-md5": "?",
                "uploader": "x" * 201,
            }
        )
        self.assertEqual(
            (found.requires_python, found.sha256, found.md5, found.uploader),
            (None, "a" * 64, None, None),
        )
        self.assertEqual(len(found.odd), 2)
        self.assertEqual(of_texts({"other": "x"}), PypicloudDescription())
