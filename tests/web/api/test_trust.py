"""Publishers over HTTP: ``/api/trust``, its page, and uploads that ``[trust] require`` is about."""

from __future__ import annotations

import json
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from attrs import evolve

from pypid.core.configuration.choices import Mode
from pypid.core.model import StoredFile, as_stored
from pypid.core.packaging.names import project_name
from pypid.core.policy import Policy
from pypid.core.records.layout import ObjectKind, kept_key
from pypid.core.trust import Ratchet, RequiredPublisher, TrustDocument, TrustRules
from pypid.flow import BytesBody
from tests.distributions import wheel, wheel_filename
from tests.index.file_cache_cases import listed
from tests.index.test_trust import provenance_by
from tests.sigstores import OwnSigstore, github, statement
from tests.support.worlds import BEGINNING
from tests.web.full_app import Pypid, WholeCase, content, text

OWN = OwnSigstore()
FILENAME, DATA = wheel_filename(), wheel()
EGGS = project_name("eggs")


class TrustCase(WholeCase):
    """A pypid that trusts a Sigstore of the tests."""

    def new(self, rules: TrustRules) -> Pypid:
        self.root = OWN.trusted_root(Path(self.mktemp()))
        return Pypid(
            Path(self.mktemp()),
            trusted_root=self.root,
            trust=rules,
            indexes=(),
            policy=Policy(mode=Mode.OFFLINE),
        )


class UploadTests(TrustCase):
    """Uploads to projects that `require` names."""

    def send(self, *identities: Any, target: str = "/legacy/") -> Any:
        about = statement(FILENAME, sha256(DATA).hexdigest())
        signed = [OWN.attestation(about, identity) for identity in identities]
        field = [text("attestations", json.dumps(signed))] if signed else []
        parts = [text(":action", "file_upload"), content(FILENAME, DATA), *field]
        return self.send_form(parts, target=target)

    def test_required_publisher(self) -> None:
        """Only the required publisher can upload; others get 403 with the reason, and nothing is
        stored.
        """
        self.pypid = self.new(TrustRules((RequiredPublisher("sp*", "github:monty/*"),)))
        bare, other = self.send(), self.send(github("eve/spam"))
        self.refused(bare, 403, "it has no verified attestation")
        self.refused(other, 403, "its attestations are by github:eve/spam")
        self.assertEqual(self.pypid.names(), [])
        self.published(self.send(github("Monty/spam")))

    def test_named_index(self) -> None:
        """`[trust] require` counts in named indexes; a key that they had once is refused."""
        self.pypid = self.new(TrustRules((RequiredPublisher("spam", "github:monty/*"),)))
        document = {"name": "team", "values": {"bases": "none", "write": "alice"}}
        self.assertEqual(self.pypid.api("POST", "/api/indexes", document).status, 201)
        for by, expected in (("eve/spam", 403), ("monty/other", 200)):
            answer = self.send(github(by), target="/team/legacy/")
            self.assertEqual(answer.status, expected, answer)
        former = {"values": {"require": "spam=github:monty/*"}}
        self.refused(
            self.pypid.api("PATCH", "/api/indexes/team", former), 400, "use [trust] require"
        )


class DoubtTests(TrustCase):
    """A cached project with an attested file and two doubted ones."""

    def setUp(self) -> None:
        super().setUp()
        self.prepare(Ratchet.HOLD)

    def prepare(self, ratchet: Ratchet) -> None:
        self.pypid = self.new(TrustRules(ratchet=ratchet))
        self.good = self.cached("1.0", 1, "monty/eggs")
        self.bare = self.cached("1.1", 2)
        self.other = self.cached("1.2", 3, "eve/eggs")
        files = (self.good, self.bare, self.other)
        editing = self.pypid.catalog.upstream.edit(EGGS, lambda entry: evolve(entry, kept=files))
        self.have(editing)
        trust = self.pypid.index.source.trust
        assert trust is not None
        document = TrustDocument("eggs", ("github:monty/eggs",), self.good.uploaded)
        self.have(trust.folder.put("eggs", document))

    def cached(self, version: str, day: int, by: str = "") -> StoredFile:
        """A cached file, uploaded on that day."""
        data, filename = version.encode(), f"eggs-{version}.tar.gz"
        key = kept_key(EGGS, filename)
        file = listed(data, filename, key=key, uploaded=BEGINNING + timedelta(days=day))
        assert isinstance(file, StoredFile)
        file = as_stored(file, attested=bool(by), key=key)
        self.have(self.pypid.blobs.write(key, BytesBody(data)))
        if by:
            provenance = provenance_by(by, file, OWN)
            where = key + ObjectKind.PROVENANCE.value
            self.have(self.pypid.blobs.write(where, BytesBody(provenance)))
        return file

    def versions(self) -> list[str]:
        files: list[dict[str, Any]] = self.pypid.page("eggs")["files"]
        return [file["filename"].removeprefix("eggs-").removesuffix(".tar.gz") for file in files]

    def test_held_and_approved(self) -> None:
        """Held files are refused with the reason, listed for administrators, and served once they
        are approved.
        """
        self.assertEqual(self.versions(), ["1.0", "1.2"])  # not verified yet
        for file in (self.bare, self.other):
            answer = self.pypid.get(f"/packages/eggs/{file.filename}")
            self.assertEqual(answer.status, 403)
            self.assertTrue(answer.reason.startswith("held: it"), answer.reason)
            state = self.pypid.get(f"/api/trust/eggs/files/{file.filename}").json
            self.assertEqual(answer.reason.partition("...")[0], f"held: {state['problem']}"[:97])
            self.assertEqual(state["status"], "held")
        self.assertEqual(self.pypid.get(f"/packages/eggs/{self.good.filename}").status, 200)
        self.assertEqual(self.versions(), ["1.0"])
        found = self.pypid.api("GET", "/api/trust", user="ada").json
        self.assertEqual(found["ratchet"], "hold")
        self.assertEqual([file["version"] for file in found["files"]], ["1.1", "1.2"])
        self.assertTrue(all(file["held"] for file in found["files"]))
        wish = {"files": ["1.1", self.other.filename]}
        made = self.pypid.api("POST", "/api/trust/eggs/approvals", wish, user="ada")
        self.assertEqual(made.json["files"], [self.bare.filename, self.other.filename])
        self.assertEqual(self.versions(), ["1.0", "1.1", "1.2"])
        self.assertEqual(self.pypid.get(f"/packages/eggs/{self.bare.filename}").body, b"1.1")
        again = self.pypid.api("POST", "/api/trust/eggs/approvals", wish, user="ada")
        self.refused(again, 400, "No doubted file")

    def test_approved_by_another_process(self) -> None:
        """A process that has not verified a file approves it by its name, with its publisher."""
        wish = {"files": [self.other.filename]}
        made = self.pypid.api("POST", "/api/trust/eggs/approvals", wish, user="ada")
        self.assertEqual(made.json["files"], [self.other.filename])
        trust = self.pypid.index.source.trust
        assert trust is not None
        self.assertIn("github:eve/eggs", trust.folder.all["eggs"].publishers)

    def test_state_of_a_file(self) -> None:
        """JSON and the page say who published a file, or that this is unknown."""
        self.prepare(Ratchet.WARN)
        states = {
            file.version: self.pypid.get(f"/api/trust/eggs/files/{file.filename}").json
            for file in (self.good, self.bare, self.other)
        }
        self.assertEqual(states["1.0"]["status"], "verified")
        self.assertEqual(states["1.0"]["publishers"], ["github:monty/eggs"])
        self.assertEqual(states["1.1"]["status"], "none")
        self.assertEqual(states["1.2"]["publishers"], ["github:eve/eggs"])
        page = self.pypid.get("/project/eggs/1.2/", "text/html").text
        self.assertIn("eve/eggs", page)
        self.assertIn("verified here", page)

    def test_forged_state(self) -> None:
        """A provenance object that proves nothing names no publisher on the page."""
        self.prepare(Ratchet.OFF)
        where = self.good.key + ObjectKind.PROVENANCE.value
        forged = provenance_by("monty/eggs", self.good, OwnSigstore())
        self.have(self.pypid.blobs.write(where, BytesBody(forged), replace=True))
        state = self.pypid.get(f"/api/trust/eggs/files/{self.good.filename}").json
        self.assertEqual((state["status"], state["publishers"]), ("unverified", []))
        self.assertIn("not issued by Sigstore", state["problem"])
        page = self.pypid.get("/project/eggs/1.0/", "text/html").text
        self.assertIn("The attestations of this file prove nothing", page)
        self.assertNotIn("monty/eggs", page)
