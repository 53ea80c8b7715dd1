"""Attestations over HTTP, from the upload to what a client reads and verifies (C31, C79)."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from pypi_attestations import Provenance

from pypid.attestations.verification import Attesting
from pypid.core.permissions import Principals, Rules
from tests.distributions import wheel, wheel_filename
from tests.sigstores import OwnSigstore, gitlab, statement
from tests.web.full_app import Pypid, WholeCase, content, text

OWN = OwnSigstore()
FILENAME, DATA = wheel_filename(), wheel()
OTHER = wheel(extra=[("Keywords", "other")])
"""Other bytes for the same file name."""
PATH = f"/integrity/spam/1.0/{FILENAME}/provenance"
PUBLIC_URL = "https://pypi.example/team"


def attestation(
    data: bytes = DATA, *others: str, filename: str = FILENAME, **options: Any
) -> dict[str, Any]:
    """A right attestation about a file."""
    return OWN.attestation(statement(filename, sha256(data).hexdigest(), *others), **options)


class AttestedCase(WholeCase):
    rules = Rules(
        write=Principals(users=frozenset({"alice", "bob"})),
        overwrite=Principals(users=frozenset({"bob"})),
    )

    def setUp(self) -> None:
        self.pypid = self.new(public_url=PUBLIC_URL)

    def new(self, **options: Any) -> Pypid:
        self.spool = Path(self.mktemp())
        pypid = Pypid(self.spool, rules=self.rules, **options)
        pypid.app.attesting = Attesting(OWN.trusted_root(Path(self.mktemp())))
        return pypid

    def attested(self, *attestations: object, data: bytes = DATA, user: str = "alice") -> Any:
        """The answer to an upload as uv sends it: the attestations come after the file."""
        said = [text("attestations", json.dumps(attestations))] if attestations else []
        return self.send_form(
            [text(":action", "file_upload"), content(FILENAME, data), *said], user=user
        )

    def provenance(self) -> Provenance:
        """What is served, as clients read it."""
        answer = self.pypid.get(PATH)
        self.assertEqual(answer.status, 200, answer)
        return Provenance.model_validate_json(answer.body)


class ServedTests(AttestedCase):
    def test_delete(self) -> None:
        """With the file, its provenance object goes, out of the storage too."""
        self.published(self.attested(attestation()))
        self.assertTrue([key for key in self.keys() if "provenance" in key])
        self.assertLess(
            self.pypid.api("DELETE", f"/api/projects/spam/files/{FILENAME}").status, 300
        )
        self.assertEqual(self.pypid.get(PATH).status, 404)
        self.assertEqual([key for key in self.keys() if "provenance" in key], [])

    def test_overwrite(self) -> None:
        """A file in the place of another has its own provenance object, or none."""
        self.published(self.attested(attestation()))
        self.published(self.attested(attestation(OTHER, identity=gitlab()), data=OTHER, user="bob"))
        [bundle] = self.provenance().attestation_bundles
        self.assertEqual(bundle.publisher.kind, "GitLab")
        self.published(self.attested(data=DATA, user="bob"))
        self.assertEqual(self.pypid.get(PATH).status, 404)
        self.assertNotIn("provenance", self.pypid.file_on("spam", FILENAME))

    def test_again(self) -> None:
        """The same bytes with other attestations change nothing."""
        self.published(self.attested(attestation()))
        before = self.pypid.get(PATH).body
        answer = self.attested(attestation(identity=gitlab()))
        self.assertIn("nothing was changed", answer.text)
        self.assertEqual(self.pypid.get(PATH).body, before)


class RefusedTests(AttestedCase):
    def test_without_library(self) -> None:
        """Where nothing can verify them the file is published without them; the answer says so, and
        nothing is served.
        """
        self.pypid.app.attesting = Attesting(Path("nowhere"))
        answer = self.attested(attestation())
        self.published(answer)
        self.assertIn("attestations were not kept", answer.text)
        self.assertEqual(self.pypid.get(PATH).status, 404)
        self.assertNotIn("provenance", self.pypid.file_on("spam", FILENAME))
        self.refused(self.attested(attestation(OTHER)), 400, "sha256 digest")
