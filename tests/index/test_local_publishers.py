"""``require`` of a named index: which files it shows, and what it reads for that."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from datetime import timedelta

import msgspec
from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import NoSuchFile
from pypid.core.packaging.names import project_name
from pypid.core.records.layout import ObjectKind
from pypid.flow import BytesBody
from pypid.index import Index
from pypid.index.explain import why_in
from pypid.index.stored_view import stored_view
from pypid.index.views import DIRECT, may_read_all
from tests.index.named import NamedCase
from tests.index.uploads import publishing, sent

SPAM = project_name("spam")
GOOD, BARE, EVIL = "spam-1.0.tar.gz", "spam-1.1.tar.gz", "spam-1.2.tar.gz"


def provenance_of(repository: str) -> bytes:
    """The provenance object of a file that this repository has published."""
    publisher = {"kind": "GitHub", "repository": repository}
    return msgspec.json.encode({"attestation_bundles": [{"publisher": publisher}]})


class RequiredPublisherTests(NamedCase, SynchronousTestCase):
    """A base with an attested file of the required publisher, a bare file, and one of another."""

    def setUp(self) -> None:
        super().setUp()
        self.base = self.create("base", bases="none")
        self.fill(self.base)
        self.strict = self.create("strict", bases="base default", require="spam=github:acme/*")

    def fill(self, index: Index) -> None:
        for filename, by in ((GOOD, "acme/spam"), (BARE, ""), (EVIL, "eve/spam")):
            provenance = provenance_of(by) if by else None
            upload = sent(filename.encode(), filename, provenance=provenance)
            self.have(publishing(index, upload))

    def shown(self, index: Index) -> list[str]:
        """The files of the page, which are those that can be downloaded, and those of the lists."""
        files = self.files(index, "spam")
        found = self.have(stored_view(index, SPAM, may_read=may_read_all))
        assert found is not None
        self.assertEqual([file.filename for file in found[0].files], list(files))
        for filename in {GOOD, BARE, EVIL} - files.keys():
            self.refused(index.file(SPAM, filename), NoSuchFile)
        return list(files)

    def test_inherited_files(self) -> None:
        """In the index, and in one above it; the base and other projects stay as they are."""
        above = self.create("above", bases="strict")
        self.assertEqual(self.shown(self.base), [GOOD, BARE, EVIL])
        self.assertEqual(self.shown(self.strict), [GOOD])
        self.assertEqual(self.shown(above), [GOOD])
        other = self.create("other", bases="base", require="eggs=github:acme/*")
        self.assertEqual(self.shown(other), [GOOD, BARE, EVIL])

    def test_as_of(self) -> None:
        """As of an earlier time, the same files are hidden."""
        self.clock.advance(60)
        permission = evolve(DIRECT, before=self.world.now())
        then = self.have(self.strict.history.project(SPAM, permission)).state.project
        self.assertEqual([file.filename for file in then.files], [GOOD])
        self.have(self.strict.file(SPAM, GOOD, permission))
        self.refused(self.strict.file(SPAM, BARE, permission), NoSuchFile)
        self.refused(self.strict.file(SPAM, EVIL, permission), NoSuchFile)

    def test_own_files(self) -> None:
        """Files that came without an upload, such as promoted ones, are hidden too. The project
        still hides that of the bases.
        """
        self.have(publishing(self.strict, sent(b"bare", BARE)))
        self.assertEqual(self.shown(self.strict), [])
        upload = sent(b"own", EVIL, provenance=provenance_of("acme/other"))
        self.have(publishing(self.strict, upload))
        self.assertEqual(self.shown(self.strict), [EVIL])

    def test_mixed_and_merged_files(self) -> None:
        """Files of several places are judged one by one."""
        for key in "merge", "allow_mixed":
            index = self.create(
                key.replace("_", "-"), bases="base", require="*=github:acme/*", **{key: "*"}
            )
            self.have(publishing(index, sent(b"own", "spam-2.0.tar.gz")))
            self.assertEqual(self.shown(index), [GOOD])

    def test_upstream_files(self) -> None:
        """They are hidden, also when they are cached, and as of a time when they were listed."""
        name, filename = project_name("numpy"), "numpy-1.0.tar.gz"
        self.assertEqual(list(self.files(self.index(""), name)), [filename])
        strict = self.create("upstream", require="numpy=*")
        self.assertEqual(self.files(strict, name), {})
        self.refused(strict.file(name, filename), NoSuchFile)
        self.clock.advance(60)
        permission = evolve(DIRECT, before=self.world.now() + timedelta(hours=1))
        self.refused(strict.file(name, filename, permission), NoSuchFile)
        self.assertEqual(list(self.files(self.create("plain"), name)), [filename])

    def test_damaged_provenance(self) -> None:
        """A file is hidden while its publisher is not known; nothing of that is remembered."""
        [key] = [each for each in self.keys() if each.endswith(GOOD + ObjectKind.PROVENANCE.value)]
        self.have(self.store.write(key, BytesBody(b"{torn"), replace=True))
        self.assertEqual(self.shown(self.strict), [])
        self.have(self.store.write(key, BytesBody(provenance_of("Acme/spam")), replace=True))
        edition = self.have(self.strict.view(SPAM)).edition
        self.assertEqual(self.shown(self.strict), [GOOD])
        self.assertEqual(self.have(self.strict.view(SPAM)).edition, edition)
        self.have(self.store.delete(key))
        again = self.started()
        self.assertEqual(self.shown(self.index("strict", again)), [])

    def test_reason(self) -> None:
        """`pypid project why` names the rules of the index."""
        why = self.have(why_in(self.strict, SPAM, may_read_all, reveals=True))
        reasons = {file.filename: file.because for file in why.files}
        self.assertIsNone(reasons[GOOD])
        for filename in BARE, EVIL:
            self.assertIn("require", str(getattr(reasons[filename], "value", "")))
