"""Formats that are promises, compared with what was written down: the storage, the catalog dump,
the HTTP API.

``tests/goldens/`` holds what the program answered when the promise was made. A difference means
that installed pypids, or clients, have to be thought of: a migration, or a mistake. After a change
that is meant, write the files anew::

    .venv/bin/python -m tests.test_goldens
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.model import Listing, Status
from pypid.core.packaging.names import project_name
from pypid.core.records.documents import dump_project
from pypid.core.records.upstream_entry import dump_heading
from pypid.flow import whole
from pypid.web.api.openapi import document
from tests.core.records.test_upstream_entry import WHEN
from tests.index.file_cache_cases import KeeperCase, listed, noise, provenance_of
from tests.index.uploads import SPAM, WHEEL, IndexCase, sent, signed
from tests.web.routes import ALL_ROUTES

GOLDENS = Path(__file__).parent / "goldens"


def dumped(value: Any) -> str:
    """The text of a golden file."""
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


def shape(value: Any) -> Any:
    """The description of an API without its prose."""
    if isinstance(value, Mapping):
        # "description" and "summary" may be fields of a schema, too: those are no strings
        prose = ("description", "summary")
        return {
            key: shape(each)
            for key, each in value.items()
            if not (key in prose and isinstance(each, str))
        }
    return [shape(each) for each in value] if isinstance(value, list | tuple) else value


def told(data: bytes) -> Any:
    """A stored object: JSON as it is, byte for byte; anything else by its hash."""
    return data.decode() if data.startswith(b"{") else f"sha256 {sha256(data).hexdigest()}"


class Stored(IndexCase):
    """A storage in which each kind of object lies."""

    def runTest(self) -> None:
        """Is run by hand."""

    def objects(self) -> dict[str, Any]:
        """Publish, overwrite, yank, delete, deprecate; return what lies in the storage, by key."""
        self.setUp()
        self.have(self.index.maintenance.reconcile())
        self.publish(signed())
        self.clock.advance(3600)
        self.publish(sent(b"other", "spam-1.1.tar.gz", metadata=None))
        self.publish(sent(b"egg", "spam-1.2-py3.8.egg", metadata=None))
        self.publish(sent(b"over", "spam-1.1.tar.gz", metadata=None), overwrite=True)
        self.have(self.index.manager.yank(SPAM, [WHEEL], "broken"))
        self.clock.advance(3600)
        self.have(self.index.manager.unyank(SPAM, [WHEEL]))
        self.have(self.index.manager.yank(SPAM, ["spam-1.1.tar.gz"], ""))
        self.have(self.index.manager.delete(SPAM, ["spam-1.2-py3.8.egg"], "carol"))
        self.have(self.index.manager.set_status(SPAM, Status.DEPRECATED, "use eggs"))
        self.publish(sent(b"ham", "ham-1!2.0+local.1-1-cp311-abi3-manylinux_2_17_x86_64.whl"))
        return {key: told(self.get(key)) for key in sorted(self.keys())}

    def lines(self) -> list[str]:
        """The lines of the catalog dump for that storage."""
        self.objects()
        self.have(self.index.maintenance.reconcile())
        lines = []
        for name in ("ham", "spam"):
            project = self.have(self.index.catalog.local.get(project_name(name)))
            lines.append(dump_project(project).decode())
        return lines


class Cached(KeeperCase):
    """A storage with a cached upstream file."""

    def runTest(self) -> None:
        """Is run by hand."""

    def objects(self) -> dict[str, Any]:
        """Fetch a file without and one with provenance; return what is in the storage, by key."""
        self.setUp()
        provenance_url = "https://files.example/integrity/spam/1.1/spam-1.1.tar.gz/provenance"
        attested = listed(noise(3000), "spam-1.1.tar.gz", provenance_url=provenance_url)
        self.upstream.sends(provenance_url, provenance_of(attested))
        for file, size in (listed(noise(2000)), 2000), (attested, 3000):
            self.upstream.sends(file.source or "", noise(size))
            self.successResultOf(self.client(file).ended)

        async def read() -> dict[str, Any]:
            return {
                blob.key: told(await whole(await self.blobs.read(blob.key), 1 << 20))
                async for blob in self.blobs.list()
            }

        return self.have(read())

    def line(self) -> str:
        """The row of the catalog for it, and for what its index listed."""
        self.objects()
        heard = self.have(self.catalog.upstream.get(SPAM))
        listing = Listing(
            name=SPAM, files=None, confirmed=WHEN, index="https://x.example/simple/", etag='"1"'
        )
        return dump_heading(evolve(heard, listing=listing)).decode()


def route_lines() -> list[str]:
    """Each route with its methods and the right that it asks for."""
    return [
        f"{route.path} {' '.join(sorted(route.methods))}: {route.action.name}"
        for route in ALL_ROUTES
    ]


def made() -> dict[str, str]:
    """The golden files as they would be written now, by name."""
    return {
        "storage.json": dumped(Stored().objects()),
        "storage-cached.json": dumped(Cached().objects()),
        "dump.json": dumped(
            [json.loads(line) for line in Stored().lines()] + [json.loads(Cached().line())]
        ),
        "openapi.json": dumped(shape(document(ALL_ROUTES))),
        "routes.json": dumped(route_lines()),
    }


class GoldenTests(SynchronousTestCase):
    """What is promised stays as it was written down."""

    maxDiff = None

    def test_formats_stay_as_promised(self) -> None:
        """Keys and records of the storage, lines of the catalog dump, routes, and the API's shapes
        are the golden files'.
        """
        now = made()
        self.assertEqual(sorted(now), sorted(path.name for path in GOLDENS.iterdir()))
        for name, text in now.items():
            self.assertEqual(json.loads(text), json.loads((GOLDENS / name).read_text()), name)


if __name__ == "__main__":
    for name, text in made().items():
        (GOLDENS / name).write_text(text)
