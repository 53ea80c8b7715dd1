"""The publishers of upstream files: `pypid.index.trust`, with real signatures. One test verifies
them in a process of its own, as the daemon does; the others do it here, since each process imports
the libraries.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.attestations.program import AttestedFile, Question, verdicts
from pypid.blobs.memory import MemoryBlobs
from pypid.core.accounts.provenance import GitHub, Signed, provenance_object
from pypid.core.configuration.choices import Mode
from pypid.core.errors import Busy, StorageDown, UpstreamDown, Withheld
from pypid.core.model import File, Listing, as_listed, in_order
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.policy import Policy
from pypid.core.simple_api.listed_files import packed
from pypid.core.trust import PublisherVerdict, Ratchet, RequiredPublisher, TrustDocument, TrustRules
from pypid.flow import BytesBody, whole
from pypid.flow.spool import sweep
from pypid.index import Index
from pypid.index.decisions import Decisions
from pypid.index.trust import GATHER, PublisherTrust
from pypid.index.views import DIRECT
from tests.index.file_cache_cases import ScriptedUpstream, listed
from tests.index.uploads import an_index
from tests.sigstores import OwnSigstore, github, statement
from tests.support import world
from tests.support.engines import a_catalog
from tests.support.worlds import Awaiting

SPAM = project_name("spam")
OWN = OwnSigstore()
DAY = datetime(2026, 1, 1, tzinfo=UTC)


def provenance_by(repository: str, file: File, sigstore: OwnSigstore = OWN) -> bytes:
    """The provenance object of the file, signed by a job of the repository."""
    about = statement(file.filename, file.sha256 or "")
    attestation = json.dumps(sigstore.attestation(about, github(repository))).encode()
    return provenance_object([Signed(GitHub(repository, "release.yml"), attestation)])


class ListingUpstream(ScriptedUpstream):
    """An upstream index with one project."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[File] = []

    async def project(
        self, name: ProjectName, known: Listing | None, via: Sequence[str]
    ) -> Listing:
        files = packed(in_order([as_listed(file) for file in self.files]))
        return Listing(name=name, files=files, confirmed=DAY, index="https://up.example/simple/")


class TrustCase(Awaiting, SynchronousTestCase):
    """An index in front of an upstream with attested files."""

    def setUp(self) -> None:
        super().setUp()
        self.upstream = ListingUpstream()
        self.root = OWN.trusted_root(Path(self.mktemp()))
        self.blobs, self.clock = MemoryBlobs(world().now), Clock()

    def verify(self, files: Sequence[AttestedFile]) -> Sequence[PublisherVerdict]:
        """As `Attesting.verdicts`."""
        return verdicts(Question(list(files), str(self.root)))

    def open(self, rules: TrustRules, mode: Mode = Mode.CACHE) -> Index:
        """An index with these rules over the storage."""
        self.policy, outside = Policy(mode=mode), world(self.clock)
        decisions = Decisions(self.blobs, outside, self.policy.restrictions)
        folder = decisions.folder("trust", TrustDocument)
        self.trust = PublisherTrust(rules, self.verify, outside, self.policy.restrictions, folder)
        spool = Path(self.mktemp())
        sweep(spool)
        catalog = a_catalog()
        index = an_index(
            *(self.blobs, catalog, self.upstream, self.policy, outside),
            spool=spool,
            trust=self.trust,
        )
        self.have(decisions.begin())
        self.addCleanup(lambda: self.have(self.trust.close()))
        self.have(index.maintenance.reconcile())
        return index

    def add(self, version: str, day: int, by: str = "", sigstore: OwnSigstore = OWN) -> File:
        """A file that upstream lists, uploaded on that day, attested by a job of a repository."""
        data = version.encode()
        url = f"https://files.example/integrity/{version}" if by else None
        file = listed(
            data,
            f"spam-{version}.tar.gz",
            uploaded=DAY + timedelta(days=day),
            provenance_url=url,
        )
        self.upstream.files.append(file)
        self.upstream.sends(file.source or "", data)
        if url is not None:
            self.upstream.sends(url, provenance_by(by, file, sigstore))
        return file

    def visible(self, index: Index) -> list[str]:
        return [file.version for file in self.have(index.project(SPAM)).files]

    def fetch(self, index: Index, file: File) -> bytes:
        """What a client gets."""

        async def fetched() -> bytes:
            found = await index.file(SPAM, file.filename)
            return await whole(await index.open(found), 1 << 20)

        data = self.have(fetched())
        self.clock.advance(GATHER)
        return data

    def held(self, index: Index, file: File) -> str:
        """Why a client does not get the file."""

        async def fetched() -> None:
            found = await index.file(SPAM, file.filename)
            await (await index.open(found)).aclose()

        return str(self.refused(fetched(), Withheld))


def required(*publishers: str) -> TrustRules:
    return TrustRules(tuple(RequiredPublisher("spam", each) for each in publishers))


class RequireTests(TrustCase):
    """``[trust] require``."""

    def test_wrong_publisher(self) -> None:
        """A file by another publisher, or without attestation, is held; none of its bytes are
        given, and others stay visible.
        """
        right, wrong = self.add("1.0", 1, "monty/spam"), self.add("1.1", 2, "eve/spam")
        bare = self.add("1.2", 3)
        index = self.open(required("github:monty/*"))
        self.assertIn("has no attestation", self.held(index, bare))
        self.assertIn("by github:eve/spam", self.held(index, wrong))
        self.assertNotIn(wrong.source, [url for url, _ in self.upstream.asked])
        self.assertEqual(self.fetch(index, right), b"1.0")
        self.assertEqual(self.visible(index), ["1.0"])

    def test_forged(self) -> None:
        """A signature by another Sigstore, another file's attestation, or a publisher that is only
        claimed proves nothing.
        """
        stranger = self.add("1.0", 1, "monty/spam", OwnSigstore())
        other = self.add("1.1", 1, "monty/spam")
        self.upstream.sends(other.provenance_url or "", provenance_by("monty/spam", stranger))
        claimed = self.add("1.2", 1, "monty/spam")
        data = provenance_by("eve/spam", claimed).replace(
            b'"repository":"eve/spam"', b'"repository":"monty/spam"'
        )
        self.upstream.sends(claimed.provenance_url or "", data)
        index = self.open(required("github:monty/*"))
        for file in (stranger, other, claimed):
            self.assertIn("proves nothing", self.held(index, file))
        self.assertEqual(self.visible(index), [])

    def test_links_of_exports(self) -> None:
        """A cached file whose publisher no process has verified yet is checked before an export
        signs a URL of it.
        """
        wrong = self.add("1.1", 2, "eve/spam")
        self.fetch(self.open(TrustRules()), wrong)
        index = self.open(required("github:monty/*"))
        found = self.have(index.file(SPAM, wrong.filename))
        self.refused(index.reader.judge(found), Withheld)
        self.assertEqual(self.visible(index), [])

    def test_offline(self) -> None:
        """The publisher of a cached file is verified again with upstream away; a cached file
        without provenance is held.
        """
        file, bare = self.add("1.0", 1, "monty/spam"), self.add("1.1", 1)
        index = self.open(TrustRules())
        self.fetch(index, file)
        self.fetch(index, bare)
        self.upstream.answers.clear()
        offline = self.open(required("github:monty/*"), Mode.OFFLINE)
        self.assertEqual(self.fetch(offline, file), b"1.0")
        self.held(offline, bare)
        self.assertEqual(self.visible(offline), ["1.0"])


class RatchetTests(TrustCase):
    """``[trust] ratchet``."""

    def learned(self, ratchet: Ratchet) -> Index:
        """An index that has cached version 1.0, by monty/spam."""
        index = self.open(TrustRules(ratchet=ratchet))
        self.assertEqual(self.fetch(index, self.add("1.0", 10, "monty/spam")), b"1.0")
        return index

    def test_hold(self) -> None:
        """After an attested release, later files without attestation and of others are held;
        earlier ones and those of the same publisher are not.
        """
        index = self.learned(Ratchet.HOLD)
        old, bare = self.add("0.9", 1), self.add("1.1", 11)
        same, other = self.add("1.2", 12, "monty/spam"), self.add("1.3", 13, "eve/spam")
        self.clock.advance(3600)
        self.assertEqual(self.fetch(index, old), b"0.9")
        self.assertEqual(self.fetch(index, same), b"1.2")
        self.assertIn("earlier releases were attested by github:monty/spam", self.held(index, bare))
        self.assertIn("by github:eve/spam", self.held(index, other))
        self.assertEqual(self.visible(index), ["0.9", "1.0", "1.2"])


class SharedStateTests(TrustCase):
    """What several administrators, clients and files change together."""

    def test_unreadable_document(self) -> None:
        """While a document cannot be read the project's files are held; it is not overwritten, except
        by an administrator.
        """
        key = ".pypid/trust/spam.json"
        self.have(self.blobs.write(key, BytesBody(b"{")))
        index = self.open(TrustRules(ratchet=Ratchet.HOLD))
        self.flushLoggedErrors()
        file = self.add("1.0", 10, "eve/spam")
        self.refused(index.file(SPAM, file.filename), Withheld)
        self.refused(self.trust.approve(file, "admin"), StorageDown)
        self.assertEqual(self.have(whole(self.have(self.blobs.read(key)), 100)), b"{")
        self.have(self.trust.reset(SPAM))
        self.fetch(index, file)
        self.have(self.trust.approve(file, "admin"))

    def test_failed_verification(self) -> None:
        """A verification that fails leaves no unhandled error, and the next one is made."""
        index = self.open(TrustRules())
        files = [self.add("1.0", 10, "monty/spam"), self.add("0.9", 9, "monty/spam")]

        def busy(files: object) -> Sequence[PublisherVerdict]:
            raise Busy("not now", 5)

        self.trust.rules = TrustRules(ratchet=Ratchet.WARN)
        verify, self.trust.verify = self.trust.verify, busy
        for file in files:
            found = self.have(index.file(SPAM, file.filename))
            self.have(whole(self.have(index.open(found)), 1 << 20))
        self.clock.advance(GATHER)
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(dict(self.trust.folder.all), {})
        self.trust.verify = verify
        older = self.add("0.8", 8, "monty/spam")
        self.clock.advance(3600)
        self.fetch(index, older)
        self.assertEqual(self.trust.folder.all[SPAM].publishers, ("github:monty/spam",))

    def test_request_without_the_right_to_reach_out(self) -> None:
        """A request that may not cause upstream requests does not get a cached file whose
        provenance is not here, and changes nothing for the others.
        """
        file = self.add("1.0", 1, "monty/spam")
        url = file.provenance_url or ""
        answer = self.upstream.answers[url]
        self.upstream.answers[url] = UpstreamDown("it is away.")
        self.fetch(self.open(TrustRules()), file)
        self.upstream.answers[url] = answer
        index = self.open(required("github:monty/*"))
        found = self.have(index.file(SPAM, file.filename))
        self.refused(index.open(found, permission=evolve(DIRECT, local=True)), Withheld)
        self.assertEqual(self.fetch(index, file), b"1.0")


class DocumentTests(SynchronousTestCase):
    """What is remembered of a project."""

    def test_older_files_extend_what_is_known(self) -> None:
        """An older attested file adds its publisher; a later one does not: that is the doubt."""
        first = TrustDocument("spam").with_verdict(PublisherVerdict(("github:a/a",)), DAY)
        later = first.with_verdict(PublisherVerdict(("github:b/b",)), DAY + timedelta(1))
        older = first.with_verdict(PublisherVerdict(("github:c/c",)), DAY - timedelta(1))
        self.assertIs(later, first)
        self.assertEqual(older.publishers, ("github:a/a", "github:c/c"))
        self.assertEqual(older.since, DAY - timedelta(1))
        self.assertIs(
            first.with_verdict(PublisherVerdict(problem="bad"), DAY - timedelta(1)), first
        )
