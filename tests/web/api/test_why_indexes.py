"""``/NAME/api/why/``: from which index a project of a named index comes, and what hides its files."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

from pypid.core.configuration.choices import Mode
from pypid.core.policy import Policy
from tests.distributions import sdist, sdist_filename, wheel, wheel_filename
from tests.web.api.test_indexes import IndexesCase
from tests.web.full_app import J, Pypid
from tests.web.memory_upstream import Elsewhere


class WhyIndexesTests(IndexesCase):
    """A pypid with an index `secret` that alice alone may use, and some above it, to which bob may
    publish.
    """

    def setUp(self) -> None:
        super().setUp()
        self.upstream = Elsewhere()
        self.upstream.has("theirs", wheel_filename("theirs"), wheel("theirs"))
        self.upstream.has("theirs", sdist_filename("theirs", "2.0"), sdist("theirs", "2.0"))
        policy = Policy(mode=Mode.CACHE)
        self.pypid = Pypid(Path(self.mktemp()), indexes=(), policy=policy, upstream=self.upstream)
        self.have_index("secret", bases="none", read="alice", write="alice")
        self.have_index("base", bases="none", write="alice")
        values = {"bases": "secret base default", "write": "alice bob"}
        self.have_index("team", **values)
        self.have_index("merging", **values, merge="*")
        self.have_index("strict", **values, deny="eggs", block="spam==1.0 theirs==2.0")
        for index, name, version in (
            ("secret", "hush", "1.0"),
            ("secret", "ham", "7.0"),
            ("base", "spam", "1.0"),
            ("base", "spam", "2.0"),
            ("merging", "spam", "3.0"),
        ):
            data, target = wheel(name, version), f"/{index}/legacy/"
            filename = wheel_filename(name, version)
            self.published(self.publish(filename, data, target=target, user="alice"))
        for name in ("eggs", "ham"):
            self.have_wheel(name)

    def why(self, path: str, user: str) -> dict[str, Any]:
        """The explanation."""
        index, _, rest = path.partition("/")
        answer = self.pypid.api("GET", f"/{index}/api/why/{rest}", user=user)
        self.assertEqual(answer.status, 200, answer)
        document: dict[str, Any] = answer.json
        return document

    def test_taken_from(self) -> None:
        """The index or upstream that provides the project, as far as the user may read it there."""
        for path, user, expected in (
            ("team/hush", "alice", ["secret"]),
            ("team/hush", "bob", []),
            ("team/ham", "alice", ["secret"]),
            ("team/ham", "bob", []),
            ("team/spam", "bob", ["base"]),
            ("team/eggs", "bob", ["default"]),
            ("team/theirs", "bob", ["public"]),
            ("merging/spam", "bob", ["merging", "base"]),
            ("merging/ham", "alice", ["secret", "default"]),
            ("merging/ham", "bob", ["default"]),
            ("strict/eggs", "bob", []),
            ("base/spam", "alice", ["base"]),
        ):
            self.pypid.get("/team/simple/theirs/", J)  # known from now on
            document = self.why(path, user)
            self.assertEqual(document["taken_from"], expected, (path, user))
            if user == "bob":
                page = self.pypid.get(f"/team/project/{path.split('/')[1]}/-/why", user=user)
                for text in (str(document), page.text):
                    self.assertNotIn("secret", text)
                    self.assertNotIn("7.0", text)
            words = f"takes the project from {''.join(expected[:1])}"
            page = self.pypid.get(f"/{path.replace('/', '/project/')}/", user=user)
            text = re.sub(r"<[^>]*>", "", page.text)
            is_inherited = bool(expected) and expected != [path.partition("/")[0]]
            self.assertEqual(words in text, is_inherited, (path, user))
        self.assertEqual(self.why("strict/eggs", "bob")["status"], "not-inherited")

    def test_local_names(self) -> None:
        """A local project is not requested because it is local, here or in another index."""
        for path, user, expected in (
            ("base/spam", "alice", "the name is local"),
            ("team/spam", "bob", "the name is local"),
            ("strict/eggs", "bob", "does not inherit the project (deny of the index strict)"),
            ("base/missing", "alice", "no upstream of the index is for this name"),
        ):
            document = self.why(path, user)
            self.assertIn(expected, str(document["not_asked"]), path)
            self.assertNotIn("offline", str(document), path)

    def test_names_of_other_indexes(self) -> None:
        """A name in an index that the user may not read looks like one that is in none, upstream
        neither; administrators see that it is private.
        """
        self.have_index("quiet", bases="none", read="bob", write="bob")
        publish = partial(self.publish, target="/quiet/legacy/", user="bob")
        self.published(publish(wheel_filename("quiet"), wheel("quiet")))
        self.pypid.get("/simple/absnt/", J)  # upstream was asked, and has no such project
        for place in ("", "/team"):
            answers = [
                self.pypid.api("GET", f"{place}/api/why/{name}", user="alice").text
                for name in ("quiet", "absnt", "other")
            ]
            pages = [
                self.pypid.get(f"{place}/project/{name}/-/why", user="alice").text
                for name in ("quiet", "absnt", "other")
            ]
            for private, absent, other in (answers, pages):
                self.assertEqual(private.replace("quiet", "absnt"), absent, place)
                self.assertEqual(other.replace("other", "absnt"), absent, place)
            seen = self.pypid.api("GET", f"{place}/api/why/quiet").json
            self.assertEqual((seen["status"], seen["local_in"]), ("other-index", ["quiet"]), place)
            page = self.pypid.get(f"{place}/project/quiet/-/why", user="ada").text
            self.assertIn(">quiet</a>", page.partition("Indexes with a local project")[2])
        seen = self.pypid.api("GET", "/team/api/why/quiet", user="bob").json
        self.assertEqual(seen["local_in"], ["quiet"])  # he may read that index
        page = self.pypid.get("/project/quiet/-/why", user="bob").text
        self.assertIn("The name is reserved for local projects", page)
        self.assertIn(">quiet</a>", page)

    def test_hidden_files_of_a_base(self) -> None:
        """Users who may read the project there see which files a rule hides in a base."""
        block = {"spec": "spam==1.0", "reason": "internal"}
        answer = self.pypid.api("POST", "/api/blocks", block)
        self.assertIn(answer.status, (200, 201), answer)
        for user in ("alice", "bob"):
            hidden = [file["filename"] for file in self.why("team/spam", user)["hidden"]]
            self.assertEqual(hidden, [wheel_filename("spam")], user)
