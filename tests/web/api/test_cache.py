"""``/api/cache``: what is kept of theirs, listed and taken away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pypid.core.configuration.choices import Mode
from pypid.core.model import File
from pypid.core.packaging.names import project_name
from pypid.core.policy import Policy
from pypid.flow import whole
from pypid.index import Index
from tests.distributions import sdist, sdist_filename, wheel, wheel_filename
from tests.web.full_app import Answer, Pypid, WholeCase
from tests.web.memory_upstream import Elsewhere
from tests.web.named_upstream import with_upstream

CACHE = Policy(mode=Mode.CACHE, allow_mixed=("spam",))
HAM, NEWER, EGGS = wheel_filename("ham"), sdist_filename("ham", "2.0"), sdist_filename("eggs")
GPU = ".pypid/upstream/gpu/"
THEIR_SPAM = sdist_filename("spam", "7.0")


class CachedCase(WholeCase):
    """A pypid with a file of ours, and some of theirs, wanted an hour after each other."""

    def setUp(self) -> None:
        super().setUp()
        self.upstream = Elsewhere()
        self.upstream.has("ham", HAM, wheel("ham"))
        self.upstream.has("ham", NEWER, sdist("ham", "2.0"))
        self.upstream.has("eggs", EGGS, sdist("eggs"))
        self.upstream.has("spam", THEIR_SPAM, sdist("spam", "7.0"))
        self.pypid = Pypid(Path(self.mktemp()), policy=CACHE, upstream=self.upstream)
        self.ours, self.data = self.have_wheel("spam")
        self.before = self.keys()
        for path in (f"ham/{HAM}", f"ham/{NEWER}", f"eggs/{EGGS}", f"spam/{THEIR_SPAM}"):
            self.assertEqual(self.pypid.get(f"/packages/{path}").status, 200)
            self.pypid.clock.advance(3600)

    def cache(self, path: str = "") -> dict[str, Any]:
        """What is listed."""
        answer = self.pypid.api("GET", f"/api/cache{path}")
        self.assertEqual(answer.status, 200, answer)
        document: dict[str, Any] = answer.json
        return document

    def purge(self, path: str = "") -> Answer:
        """The answer to a purge, after which all of ours is as it was."""
        answer = self.pypid.api("DELETE", f"/api/cache{path}")
        self.assertLessEqual(set(self.before), set(self.keys()))
        self.assertEqual(self.pypid.get(f"/packages/spam/{self.ours}").body, self.data)
        return answer

    def size(self, prefix: str = ".kept/") -> int:
        """The bytes that lie there."""
        return sum(
            self.have(self.pypid.blobs.stat(key)).size
            for key in self.keys()
            if key.startswith(prefix)
        )


class ListTests(CachedCase):
    """What there is."""

    def test_projects(self) -> None:
        """Each project with its files, the bytes that lie there, and when one of them was last
        wanted; the sums.
        """
        told = self.cache()
        self.assertEqual((told["files"], told["size"], told["limit"]), (4, self.size(), None))
        self.assertEqual(
            told["projects"],
            [
                {
                    "name": "eggs",
                    "files": 1,
                    "size": self.size(".kept/eggs/"),
                    "last_access": "2026-01-01T02:00:01Z",
                },
                {
                    "name": "ham",
                    "files": 2,
                    "size": self.size(".kept/ham/"),
                    "last_access": "2026-01-01T01:00:01Z",
                },
                {
                    "name": "spam",
                    "files": 1,
                    "size": self.size(".kept/spam/"),
                    "last_access": "2026-01-01T03:00:01Z",
                },
            ],
        )


class PurgeTests(CachedCase):
    """Taking it away."""

    def left(self) -> list[str]:
        """The kept files."""
        return [
            file["filename"]
            for name in ("eggs", "ham", "spam")
            for file in self.cache(f"/{name}")["files"]
        ]

    def test_all(self) -> None:
        """All of theirs goes, and what went is told; what is wanted again comes again."""
        before = self.cache()
        del before["limit"]
        self.assertEqual(self.purge().json, before)
        self.assertEqual((self.left(), self.keys()), ([], self.before))
        self.assertEqual(self.pypid.get(f"/packages/ham/{HAM}").body, wheel("ham"))
        self.assertEqual(self.left(), [HAM])

    def test_some(self) -> None:
        """A project, under any spelling, or a file; to purge what is not there is no error."""
        self.assertEqual(self.purge(f"/HAM/{HAM}").json["files"], 1)
        self.assertEqual(self.left(), [EGGS, NEWER, THEIR_SPAM])
        self.assertEqual(self.purge("/ham").json["projects"][0]["name"], "ham")
        self.assertEqual(self.left(), [EGGS, THEIR_SPAM])
        for path in ("/ham", f"/ham/{HAM}", f"/spam/{self.ours}"):
            self.assertEqual(self.purge(path).json, {"files": 0, "size": 0, "projects": []})
        self.assertEqual(self.purge("/spam").json["files"], 1)

    def test_older(self) -> None:
        """Only what nobody wanted for so long, counted from its last use."""
        self.pypid.get(f"/packages/ham/{HAM}")
        self.assertEqual(self.purge("?older_than=5h").json["files"], 0)
        self.assertEqual(
            self.purge("?older_than=150m").json["files"], 1
        )  # not ham's wheel, which was wanted just now
        self.assertEqual(self.left(), [EGGS, HAM, THEIR_SPAM])
        self.assertEqual(self.purge("/ham?older_than=1h").json["files"], 0)
        self.assertEqual(self.purge("?older_than=2h").json["files"], 1)
        self.assertEqual(self.left(), [HAM, THEIR_SPAM])

    def test_wrong(self) -> None:
        """A time that is none, a name that cannot be, and an address with a slash too many remove
        nothing.
        """
        for path, status in (
            ("?older_than=soon", 400),
            ("?older_than=-1d", 400),
            ("/-x-", 404),
            ("/", 400),
            ("//", 404),
        ):
            self.assertEqual(self.purge(path).status, status, path)
        self.assertEqual(len(self.left()), 4)


class NamedUpstreamTests(CachedCase):
    """The caches of `[upstream:NAME]` are listed and purged with that of `[upstream]`."""

    def setUp(self) -> None:
        super().setUp()
        gpu, index = Elsewhere(), self.pypid.index
        gpu.has("ham", HAM, wheel("ham"))
        named = with_upstream(index, "gpu", gpu)
        self.have(named.maintenance.reconcile())
        file = self.have(named.file(project_name("ham"), HAM))
        self.assertEqual(self.have(self._read(named, file)), wheel("ham"))

    async def _read(self, index: Index, file: File) -> bytes:
        return await whole(await index.open(file), 1 << 20)

    def test_purge_of_one_upstream(self) -> None:
        """Only files of that upstream go; an unknown name removes nothing."""
        self.assertEqual(self.purge("?upstream=cpu").status, 400)
        self.assertEqual(self.purge("/ham?upstream=").status, 400)
        gone = self.purge("?upstream=gpu").json
        self.assertEqual([each["upstream"] for each in gone["projects"]], ["gpu"])
        self.assertEqual((self.size(GPU), self.cache()["files"]), (0, 4))

    def test_purge_of_all(self) -> None:
        """Without a name the files of all upstreams go."""
        self.assertEqual(self.purge("/ham").json["files"], 3)
        self.assertEqual(self.size(GPU), 0)
