"""Entries of the usual form are understood at once, and as those that are read with care."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.model import Status
from pypid.core.packaging.names import project_name
from pypid.core.simple_api.listed_files import at_once
from pypid.core.simple_api.parse import Gathered, ParsedListing, decode_entries

DEMO = project_name("demo")
BASE = "https://index.example/simple/demo/"
SHA = "ab" * 32
MISSING = "missing"

names = st.sampled_from(
    (
        "demo-1.0.tar.gz",
        "demo-1.0-py3-none-any.whl",
        "demo-1.0.0-py3-none-any.whl",
        "demo-1.0-1-cp311-cp311-linux_x86_64.whl",
        "Demo-1.0-py3-none-any.whl",
        "demo-1.0+cpu-py3-none-any.whl",
        "demo-1.0-py3-none.whl",
        "demo-1.0-py3-none-any-x1.whl",
        "demo-01.0-py3-none-any.whl",
        "other-1.0-py3-none-any.whl",
        "demo-1.0.egg",
        "demo-x.tar.gz",
        "demo.zip",
        "..",
        "",
    )
)
folders = st.sampled_from(
    (
        "https://files.example/a/b/",
        "https://files.example/a/c/",
        "https://files.example/",
        "https://files.example:8080/a/",
        "https://files.example:0/a/",
        "https://files.example:65536/a/",
        "https://user:password@files.example/a/",
        "https://files.example//a/",
        "https://files.example/./",
        "https://files.example/a/../",
        "https://files.example/%2e%2e/",
        "https://files.example/a?b=/",
        "https://files.example/a#/",
        "https://files.example/\u00e4/",
        "https://files.example/a b/",
        "ftp://files.example/",
        "../../packages/demo/",
        "../../../../../",
        "/packages/",
        "//files.example/",
        "a/",
        "./",
        "",
        "https://files.example",
        "javascript:/",
    )
)
hashes = st.sampled_from(
    (
        {"sha256": SHA},
        {"sha256": "cd" * 32},
        {"sha256": SHA.upper()},
        {"SHA256": SHA},
        {"sha256": SHA[:-1] + "g"},
        {"sha256": SHA[:-1]},
        {"sha256": SHA[:-1] + "\u00e4"},
        {"sha256": SHA, "md5": "ef" * 16},
        {"md5": "ef" * 16},
        {"sha512": "ab" * 64, "blake2b_256": SHA},
        {},
    )
)
metadata = st.sampled_from((MISSING, None, True, False, {}, {"sha256": SHA}, {"sha256": "x"}))
texts = st.text(max_size=9) | st.sampled_from((">=3.9", " >=3.9", "", " ", "\x85", "x" * 5000))
yanks = st.booleans() | st.none() | texts
times = st.sampled_from(
    (
        MISSING,
        None,
        "2026-01-02T03:04:05.678900Z",
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05+02:00",
        "2026-01-02T03:04:05",
        "0001-01-01T00:00:00+02:00",
        "2026-02-30T00:00:00Z",
        "2026-01-02t03:04:05z",
        "2026-01-02T03:04:05.9999999Z",
        "2026-01-02T03:04:05.0000000000000000000000000000000Z",
        "yesterday",
        "",
    )
)


def an_entry(filename: str, given_name: Any, folder: str, tail: str, **more: Any) -> dict[str, Any]:
    """An entry of a page, without the keys that are `MISSING`."""
    return {
        "filename": filename if given_name == MISSING else given_name,
        "url": folder + filename + tail,
        **{key: value for key, value in more.items() if value != MISSING},
    }


entries = st.builds(
    an_entry,
    names,
    st.just(MISSING) | names,
    folders,
    st.sampled_from(("", "", "", "#sha256=1", "?x=1")),
    hashes=hashes,
    size=st.sampled_from((MISSING, None, 0, 7, -1, 1 << 53, True, 1.0, "7")),
    **{
        "core-metadata": metadata,
        "dist-info-metadata": metadata,
        "data-dist-info-metadata": metadata,
        "upload-time": times,
        "requires-python": st.just(MISSING) | st.none() | texts,
        "yanked": st.just(MISSING) | yanks,
        "provenance": st.sampled_from(
            (MISSING, None, "https://x/y", "http://x/y", "https://x/ y ", "https://x/\u00e4", "")
        ),
    },
)
usual = st.builds(
    an_entry,
    names,
    st.just(MISSING),
    folders,
    st.just(""),
    hashes=hashes,
    yanked=yanks,
    **{"core-metadata": metadata, "upload-time": times},
)


def listing(found: list[Any]) -> ParsedListing:
    """The listing of these entries."""
    gathered = Gathered(DEMO, BASE, lambda url: "/a/" in url)
    gathered.take(found)
    return at_once(gathered.listing(Status.ACTIVE, ""))


class UsualTests(SynchronousTestCase):
    """`UsualEntries`."""

    @settings(max_examples=300, deadline=None, database=None)
    @given(st.lists(entries, max_size=3) | st.lists(usual, max_size=9))
    def test_same_with_care(self, found: list[dict[str, Any]]) -> None:
        """Entries give the same files, whether they are decoded by their types or as any JSON."""
        text = json.dumps(found).encode()
        one, other = listing(decode_entries(text)), listing(json.loads(text))
        self.assertEqual(tuple(one.files), tuple(other.files))
        self.assertEqual(one.left_out, other.left_out)

    def test_long_names(self) -> None:
        """A long name is refused although its beginning and its end are those of other files."""
        version, tags = f"1{'.0' * 80}", f"py3-none-{'a' * 160}.whl"
        several = [f"demo-1-{tags}", f"demo-{version}-py3-none-any.whl", f"demo-{version}-{tags}"]
        page = [
            {"filename": name, "url": f"https://x/a/{name}", "hashes": {"sha256": SHA}}
            for name in several
        ]
        found = listing(decode_entries(json.dumps(page).encode()))
        self.assertEqual([file.filename for file in found.files], [several[0], several[1]])
        self.assertEqual(found.left_out, 1)
