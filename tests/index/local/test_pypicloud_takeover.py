"""What a pypicloud left in a bucket or a folder becomes ours, where it lies; and what lies there
besides.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import md5, sha256

from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from pypid.blobs.memory import MemoryBlobs
from pypid.core.configuration.choices import Mode
from pypid.core.errors import Archived, NotYetKnown, PypidError, StorageDown
from pypid.core.model import File, ListedFile, Listing, Presence, Span
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.policy import Policy
from pypid.flow import start
from pypid.index import Index
from pypid.index.local.adoption import Result
from pypid.index.store import reconcile
from pypid.ports import Body
from tests.distributions import metadata, sdist, wheel
from tests.index.faulty_blobs import Gated, Storm, Watched
from tests.index.file_cache_cases import ScriptedUpstream
from tests.index.uploads import SPAM, WHEEL, Described, IndexCase, an_index, publishing, sent
from tests.support import world

SDIST = "spam-1.0.tar.gz"
PRIVATE = project_name("private")


class Nosy(ScriptedUpstream):
    """Another index that has everything, and takes down what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names_asked: list[str] = []

    async def project(
        self, name: ProjectName, known: Listing | None, via: Sequence[str]
    ) -> Listing:
        self.names_asked.append(name)
        return Listing(
            name=name,
            index="https://x.example/simple/",
            confirmed=world().now(),
            files=(theirs_of(name),),
        )


def theirs_of(name: ProjectName) -> File:
    """A file of theirs."""
    return ListedFile(
        project=name,
        filename=f"{name}-99.0.tar.gz",
        version="99.0",
        sha256="0" * 64,
        size=None,
        source="https://x.example/y",
    )


def hashed(filename: str) -> str:
    """The four digits that pypicloud puts before a key."""
    return md5(filename.encode(), usedforsecurity=False).hexdigest()[:4]


class TakeOverCase(IndexCase):
    """A bucket as pypicloud left it."""

    adopts = True

    def setUp(self) -> None:
        super().setUp()
        self.store = Described(world(self.clock).now)
        self.index = self.restarted()
        self.lines: list[str] = []

        def hear(event: LogEvent) -> None:
            self.lines.append(formatEvent(event))

        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)

    def left(self, where: str, data: bytes, **said: str) -> None:
        """pypicloud stored it so, and said this of it (with dashes for underscores)."""
        self.put(where, data)
        assert isinstance(self.store, Described)
        self.store.said[where] = {name.replace("_", "-"): text for name, text in said.items()}

    def started(self, index: Index | None = None) -> Index:
        """What a process does first."""
        self.lines.clear()
        self.have((index or self.index).maintenance.reconcile())
        return index or self.index

    def told(self, text: str) -> list[str]:
        """The lines of the log that hold the text."""
        return [line for line in self.lines if text in line]

    def file(self, name: str, filename: str) -> File:
        return self.have(self.index.file(project_name(name), filename))


class PrivateTests(TakeOverCase):
    """Nobody upstream hears of a private name, however long it takes to take in what is there."""

    def test_never_asked_meanwhile(self) -> None:
        """From the start on until all is taken in, no request for a name that is not known yet goes
        to another index.
        """
        filename = "private-1.0.tar.gz"
        self.left(
            f"{hashed(filename)}/private/{filename}",
            sdist("private"),
            name="private",
            version="1.0",
        )
        self.left("loose/odd.exe", b"MZ", name="odd", version="1")
        steps = 0
        while True:
            upstream, gated = Nosy(), Gated(self.store)
            index = an_index(
                gated,
                self.restarted().catalog,
                upstream,
                Policy(mode=Mode.REDIRECT),
                world(self.clock),
                adopts=True,
                describing=self.store,  # type: ignore[arg-type]
            )
            starting = start(index.maintenance.reconcile())
            for _ in range(steps):
                if gated.waiting:
                    gated.go()
            done = starting.called
            asking = [start(index.project(PRIVATE)), start(index.project(project_name("odd")))]
            asking += [
                start(index.file(PRIVATE, "private-99.0.tar.gz")),
                start(index.metadata(theirs_of(PRIVATE))),
            ]
            gated.all()
            for asked in asking:
                asked.addErrback(lambda failure: failure.trap(PypidError) and None)
                self.successResultOf(asked)
            self.successResultOf(starting)
            self.assertEqual(set(upstream.names_asked) & {"private", "odd"}, set(), steps)
            found = self.successResultOf(start(index.project(PRIVATE)))
            self.assertEqual([file.filename for file in found.files], [filename])
            if done:
                break
            steps += 1
            for key in self.keys():
                if key.endswith((".json", ".metadata")):
                    self.have(self.store.delete(key))
            self.have(self.store.delete(".pypid/left.json"))
        self.assertGreater(steps, 10)
        public = start(index.project(project_name("public")))
        gated.all()
        self.successResultOf(public)
        self.assertEqual(upstream.names_asked, ["public"])

    def test_unknown_meanwhile(self) -> None:
        """Until then a name that is not known is not known yet: to be asked for again, and not to
        be published.
        """
        self.assertIs(self.have(self.index.context.local_project(SPAM)), Presence.UNKNOWN)
        self.assertIs(self.have(self.index.context.ours_now(SPAM)), Presence.UNKNOWN)
        self.refused(self.index.project(SPAM), NotYetKnown)
        self.refused(publishing(self.index, sent()), NotYetKnown)
        self.started()
        self.publish(sent())
        self.left(f"spam/{SDIST}", sdist())
        later = self.restarted()
        self.have(later.context.resync(SPAM))  # as a snapshot has it
        self.refused(publishing(later, sent(b"other", SDIST)), NotYetKnown)
        self.have(publishing(later, sent(b"new", "spam-2.0.tar.gz")))
        self.assertIs(self.have(self.index.context.local_project(PRIVATE)), Presence.ABSENT)

    def test_refused_stay_ours(self) -> None:
        """The name of a file that cannot be taken in is still not asked upstream: a pypicloud
        served it as private.
        """
        self.left("private/private-1.0-final-2.tar.gz", b"", name="private")
        self.left("tools/setup-7.exe", b"MZ", name="Our_Tools", version="7")
        self.left("aaaa/eggs-2.0.tar.gz", b"", name="ham", version="2.0")
        self.started()
        for name in ("private", "our-tools", "ham", "eggs"):
            self.assertEqual(self.have(self.index.project(project_name(name))).files, (), name)
        restarted = self.started(self.restarted())
        self.assertEqual(self.have(restarted.project(project_name("our-tools"))).files, ())

    def test_listed_by_name(self) -> None:
        """What no installer of today takes, and of which nothing is said, a pypicloud listed by its
        name: it stays ours, however much else lies in the bucket.
        """
        self.patch(reconcile, "MOST_FOREIGN", 1)
        self.put("assets/a.png", b"x")
        self.put("assets/notes-1.txt", b"x")
        self.put("aaaa/tools/tools-1.0.win32.exe", b"MZ")
        self.put("Old_Name/Old_Name-1.0.tbz", b"x")
        self.put("more-tools-2.0.tar", b"x")
        self.started()
        for name in ("tools", "old-name", "more-tools"):
            self.assertEqual(self.have(self.index.project(project_name(name))).files, (), name)
        self.assertEqual(
            {summary.name for summary in self.have(self.index.names())},
            {"tools", "old-name", "more-tools"},
        )


class TakeOverTests(TakeOverCase):
    """What is taken over, and what is told."""

    def test_bucket(self) -> None:
        """With and without hash and metadata: all is served, nothing is moved or rewritten; what
        was said is taken over.
        """
        data, older = wheel(metadata_bytes=metadata(summary="Späm")), sdist(version="0.9")
        said = {
            "hash_sha256": sha256(data).hexdigest(),
            "hash_md5": "0" * 32,
            "uploader": "alice",
            "requires_python": ">=3.8",
        }
        self.left(
            f"{hashed(WHEEL)}/spam/{WHEEL}",
            data,
            name="spam",
            version="1.0",
            summary="Spam",
            **said,
        )
        self.left("spam/spam-0.9.tar.gz", older)
        self.left(
            "Foo_Bar/Foo_Bar-1.0.tar.gz",
            sdist("Foo_Bar", top="Foo_Bar-1.0"),
            name="foo-bar",
            uploader="bob",
        )
        before = {key: self.get(key) for key in self.keys()}
        self.clock.advance(100)
        self.started()
        self.assertEqual(
            self.files(),
            {
                WHEEL: data,
                "spam-0.9.tar.gz": older,
                "Foo_Bar-1.0.tar.gz": before["Foo_Bar/Foo_Bar-1.0.tar.gz"],
            },
        )
        file = self.file("spam", WHEEL)
        self.assertEqual(
            (file.uploader, file.requires_python, file.md5, file.blake2b_256),
            ("alice", ">=3.8", "0" * 32, None),
        )
        self.assertEqual((file.summary, file.uploaded), ("Späm", world().now()))
        self.assertIsNotNone(file.metadata_sha256)
        self.assertEqual(self.file("foo-bar", "Foo_Bar-1.0.tar.gz").uploader, "bob")
        self.assertIsNone(self.file("spam", "spam-0.9.tar.gz").uploader)
        self.assertEqual({key: self.get(key) for key in before}, before)
        self.compared()

    def test_broken_off(self) -> None:
        """Wherever it breaks off, what was taken in stays, nothing is proven absent, and the next
        start takes in the rest.
        """
        for late in (False, True):
            for nth in range(1, 80):
                self.setUp()
                self.left(f"spam/{WHEEL}", wheel(), uploader="alice")
                self.left("logs/today.txt", b"x")
                self.left("eggs/eggs-1.0.tar.gz", sdist("eggs"))
                storm = Storm(self.store, nth, lambda: StorageDown("away."), late=late)
                index = self.restarted(storm)
                start(index.maintenance.reconcile()).addErrback(
                    lambda failure: failure.trap(StorageDown)
                )
                if self.have(
                    index.catalog.is_complete()
                ):  # one file that cannot be read holds up no other
                    self.assertEqual(
                        [each.name for each in self.have(index.names())],
                        ["eggs", "spam"],
                        (late, nth),
                    )
                self.at_rest(index)
                self.started(self.restarted())
                self.started()
                self.assertEqual(set(self.files()), {WHEEL, "eggs-1.0.tar.gz"}, (late, nth))
                if not storm.struck:
                    break
            else:
                self.fail("more than 79 operations")

    def test_claims(self) -> None:
        """Two keys for one name: of the same bytes one is taken and the other left; of others that
        one which pypicloud would have served, the last of the listing, and the other is refused.
        """
        for other, outcome in (
            (wheel(), Result.LEFT),
            (wheel(extra=[("License", "x")]), Result.REFUSED),
        ):
            self.setUp()
            self.left(f"{hashed(WHEEL)}/spam/{WHEEL}", other, name="spam")
            self.left(f"spam/{WHEEL}", wheel(), name="spam")
            _, adopted = self.have(self.index.maintenance.rebuild("dave"))
            self.assertEqual(
                {each.key: each.outcome for each in adopted},
                {f"{hashed(WHEEL)}/spam/{WHEEL}": outcome, f"spam/{WHEEL}": Result.ADOPTED},
            )
            self.assertEqual(self.files(), {WHEEL: wheel()})

    def test_broken_archives(self) -> None:
        """What pypicloud served is served, however broken, without core metadata; but no other
        bytes than were uploaded.
        """
        broken, cut = wheel()[:-30], sdist("cut")
        self.left(f"spam/{WHEEL}", broken, name="spam", hash_sha256=sha256(broken).hexdigest())
        self.left("ham/ham-1.0.tar.gz", b"<html>404</html>", name="ham")
        self.left("eggs/eggs-1.0-py3-none-any.whl", wheel("spam"), name="eggs", uploader="bob")
        self.left(
            "cut/cut-1.0-py3-none-any.whl",
            wheel("cut")[:-9],
            name="cut",
            hash_sha256=sha256(cut).hexdigest(),
        )
        self.left("nil/nil-1.0.tar.gz", b"", name="nil", hash_sha256=sha256(b"").hexdigest())
        self.started()
        self.assertEqual(set(self.files()), {WHEEL, "ham-1.0.tar.gz", "eggs-1.0-py3-none-any.whl"})
        self.assertIsNone(self.file("spam", WHEEL).metadata_sha256)
        self.assertEqual(len(self.told("without core metadata")), 3)
        self.assertEqual(len(self.told("its bytes are damaged")), 1)
        self.assertEqual(len(self.told("is refused")), 2)

    def test_archived(self) -> None:
        """What lies in an archive is served if it is described, and else refused until it is
        restored.
        """
        for key, said in (
            (f"spam/{WHEEL}", {"hash_sha256": sha256(wheel()).hexdigest()}),
            (f"spam/{SDIST}", {}),
        ):
            self.left(key, wheel(), **said)

        class Frozen(Watched):
            async def read(self, key: str, span: Span | None = None) -> Body:
                if not key.endswith((".json", ".metadata")):
                    raise Archived()
                return await self._blobs.read(key, span)

        index = self.started(self.restarted(Frozen(self.store)))
        found = self.have(index.project(SPAM))
        self.assertEqual([file.filename for file in found.files], [WHEEL])
        self.assertEqual(len(self.told("is in an archive")), 1)


class FolderTests(TakeOverCase):
    """A folder as pypicloud's file store left it."""

    def setUp(self) -> None:
        super().setUp()
        self.store = MemoryBlobs(world(self.clock).now)  # which keeps no descriptions
        self.index = self.restarted()

    def left_file(self, where: str, data: bytes, **said: object) -> None:
        self.put(where, data)
        self.put(f"{where}.meta", json.dumps(said).encode())

    def test_folder(self) -> None:
        """What the JSON beside a file says is taken over; where it is broken it is ignored, and
        told once.
        """
        data = wheel()
        self.left_file(
            f"spam/1.0/{WHEEL}",
            data,
            hash_sha256=sha256(data).hexdigest(),
            uploader="alice",
            summary="Ünicode",
        )
        self.put("spam/0.9/spam-0.9.tar.gz", sdist(version="0.9"))
        self.put("spam/0.9/spam-0.9.tar.gz.meta", b'{"uploader": ')
        self.put("eggs/1.0/eggs-1.0.tar.gz", sdist("eggs"))
        self.put("eggs/1.0/eggs-1.0.tar.gz.meta", b'["no object"]')
        self.started()
        self.assertEqual(set(self.files()), {WHEEL, "spam-0.9.tar.gz", "eggs-1.0.tar.gz"})
        self.assertEqual(self.file("spam", WHEEL).uploader, "alice")
        self.assertEqual(len(self.told("cannot be read, and is ignored")), 2)
        self.assertEqual(self.told("neither distributions nor"), [])
        self.started(self.restarted())
        self.assertEqual(self.told("ignored"), [])
