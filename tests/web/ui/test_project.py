"""The page of a project: `pypid.web.ui.project`, and what it is made of."""

from __future__ import annotations

import gzip
import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

from attrs import evolve
from msgspec.structs import replace

from pypid.core.configuration.choices import Mode
from pypid.core.errors import StorageDown
from pypid.core.model import Status, in_order
from pypid.core.packaging.names import project_name
from pypid.core.permissions import AUTHENTICATED, Rules
from pypid.core.policy import Policy
from pypid.core.presentation.project_view import MOST_FILES
from tests.distributions import metadata, wheel, wheel_filename
from tests.web.full_app import Answer, Pypid, WholeCase
from tests.web.memory_upstream import Elsewhere
from tests.web.test_attestations import FILENAME, AttestedCase, attestation
from tests.web.ui.test_pages import BROWSER, Seen

SPAM = project_name("spam")
MANY = 2500
XSS = "<img src=x onerror=alert(1)>\"'><script>alert(1)</script>{{ 7*7 }}"
LIMIT = 100_000
"""Bytes that a page may take on its way."""


class ProjectCase(WholeCase):
    """Somebody who looks at projects in a browser."""

    def see(
        self,
        path: str = "",
        project: str = "spam",
        pypid: Pypid | None = None,
        user: str | None = None,
    ) -> Answer:
        """A page about a project, which is right in all that every page has to be right in."""
        plain = ("Accept-Encoding", "identity")
        answer = (pypid or self.pypid).get(f"/project/{project}/{path}", BROWSER, plain, user=user)
        if answer.status == 200:
            seen = Seen(answer.text)
            self.assertEqual((seen.headings, seen.odd), (1, []))
            self.assertIn("default-src 'none'", answer["content-security-policy"] or "")
            ids = re.findall(r'\bid="([^"]*)"', answer.text)
            self.assertEqual(sorted(set(ids)), sorted(ids))
            for fragment in re.findall(r'href="#([^"]+)"', answer.text):
                self.assertIn(fragment, ids)
        return answer

    def told(self, *args: Any, **options: Any) -> str:
        """The words of such a page."""
        answer = self.see(*args, **options)
        self.assertEqual(answer.status, 200, answer)
        return " ".join(re.sub(r"<[^>]*>", " ", answer.text).split())


class ProjectPageTests(ProjectCase):
    """A project of ours."""

    def test_release(self) -> None:
        """Without a version it is of the release that installers choose: what describes it, its
        files and how to have it.
        """
        self.have_wheel(version="0.9")
        self.have_sdist(version="1.0", extra=[("Classifier", "Typing :: Typed")])
        self.have_wheel(
            version="1.0",
            requires_python=">=3.9",
            extra=[("Author-email", "Terry <t@example.org>")],
        )
        self.have_wheel(version="2.0b1")
        answer, words = self.see(), self.told()
        self.assertIn("spam 1.0 Lovely spam local", words)
        self.assertIn(
            (
                "pip install --index-url http://index.example/simple/ --trusted-host index.example "
                "spam<"
            ),
            answer.text,
        )
        self.assertIn('href="../../packages/spam/spam-1.0-py3-none-any.whl"', answer.text)
        self.assertIn('href="../../packages/spam/spam-1.0.tar.gz"', answer.text)
        self.assertIn('href="../../project/spam/-/contents/spam-1.0.tar.gz"', answer.text)
        self.assertIn('href="mailto:t@example.org"', answer.text)
        self.assertIn('href="../../project/spam/-/compare?from=0.9&amp;to=1.0"', answer.text)
        self.assertIn("by alice", words)
        self.assertIn(
            sha256(
                wheel(
                    version="1.0",
                    requires_python=">=3.9",
                    extra=[("Author-email", "Terry <t@example.org>")],
                )
            ).hexdigest(),
            words,
        )
        self.assertIn("Files 2 Versions 3", words)

    def test_quarantined_dependency_is_marked(self) -> None:
        """Whoever looks at a release sees that it needs something that cannot be installed now."""
        self.have_wheel("ham", "1.0")
        needs = metadata(
            "spam", "1.0", extra=(("Requires-Dist", "ham>=1"), ("Requires-Dist", "eggs"))
        )
        self.have_wheel("spam", "1.0", metadata_bytes=needs)
        self.assertNotIn("quarantined", self.told())
        self.have(self.pypid.index.manager.set_status(project_name("ham"), Status.QUARANTINED, ""))
        self.assertRegex(self.told(), r"ham\s+quarantined\s+&gt;=1")

    def test_hostile(self) -> None:
        """Whatever metadata hold, the page has no element of theirs, and no link that leads
        anywhere but to a web page.
        """
        names = ("Author", "Author-email", "Maintainer", "License", "Keywords", "Classifier", "Requires-Dist", "Provides-Extra",
            "Platform", "Home-page", "Download-URL", "Description-Content-Type")  # fmt: skip
        extra = [(name, XSS) for name in names]
        extra += [
            ("Project-URL", f"{XSS}, javascript:alert(1)"),
            ("Project-URL", 'Home, https://x.example/"onclick=alert(1)'),
        ]
        self.have_adopted_wheel(metadata_bytes=metadata(summary=XSS, extra=extra, description=XSS))
        self.have(self.pypid.index.manager.yank(SPAM, ["spam-1.0-py3-none-any.whl"], XSS))
        self.have(self.pypid.index.manager.set_status(SPAM, Status.ARCHIVED, XSS))
        for path in ("", "1.0/", "-/versions"):
            page = self.see(path).text
            self.assertNotIn("<img", page)
            self.assertNotIn("<script>", page)
            self.assertNotIn("49", re.sub(r'datetime="[^"]*"|[0-9a-f]{12,}…?', "", page))
            links = re.findall(r'(?:href|src|action)="([^"]*)"', page)
            self.assertEqual(
                [
                    link
                    for link in links
                    if ":" in link and not link.startswith(("http://", "https://", "mailto:"))
                ],
                [],
            )

    def test_upstream_links(self) -> None:
        """A link that somebody gave tells nobody that it was followed, and is no word of ours for
        its sake.
        """
        self.have_wheel(
            metadata_bytes=metadata(extra=[("Project-URL", "Chat, https://chat.example/x")])
        )
        self.assertIn(
            '<a href="https://chat.example/x" rel="nofollow noopener noreferrer">Chat</a>',
            self.see().text,
        )

    def test_storage_away(self) -> None:
        """Metadata of ours that cannot be read now are an error, which is told as a page."""
        self.have_wheel()
        self.pypid.blobs.away = StorageDown("it is away.")
        answer = self.pypid.get("/project/spam/", BROWSER)
        self.assertEqual(answer.status, 503)
        self.assertIn("<h1>", answer.text)


class ManyTests(ProjectCase):
    """Projects with very much in them."""

    def test_size(self) -> None:
        """Of a release of thousands of files so many are shown, the rest is counted; the page stays
        below 100 kB.
        """
        self.have_wheel(metadata_bytes=metadata(description="word " * 20_000))
        project = self.have(self.pypid.index.project(SPAM))
        tags = [
            f"cp3{number}-cp3{number}-manylinux_2_{number}_x86_64.manylinux2014_x86_64"
            for number in range(MANY)
        ]
        names = [wheel_filename("spam", "1.0", tag=tag) for tag in tags]
        digests = [sha256(name.encode()).hexdigest() for name in names]
        more = [
            replace(project.files[0], filename=name, sha256=digest, key=name, metadata_sha256=None)
            for name, digest in zip(names, digests, strict=True)
        ]
        many = in_order((*project.files, *more))
        self.have(self.pypid.catalog.local.edit(SPAM, lambda before: evolve(project, files=many)))
        answer = self.pypid.get("/project/spam/", BROWSER, ("Accept-Encoding", "gzip"))
        self.assertEqual(answer["content-encoding"], "gzip")
        self.assertLess(len(answer.body), LIMIT)
        page = gzip.decompress(answer.body).decode()
        self.assertEqual(page.count('class="project-filename"'), MOST_FILES)
        self.assertIn(f"{MANY + 1 - MOST_FILES:,} more files of this release", page)


class TheirsTests(ProjectCase):
    """Projects of another index."""

    def setUp(self) -> None:
        self.upstream = Elsewhere()
        policy = Policy(mode=Mode.CACHE)
        self.pypid = Pypid(
            Path(self.mktemp()),
            rules=Rules(fetch=AUTHENTICATED),
            policy=policy,
            upstream=self.upstream,
        )
        self.have(self.pypid.index.maintenance.reconcile())
        data = wheel("spam", metadata_bytes=metadata(description="From elsewhere"))
        self.file = self.upstream.has("spam", wheel_filename("spam"), data)

    def test_digest(self) -> None:
        """Of another project nothing is shown because its metadata have the digest that upstream
        says here.
        """
        secret = metadata("ours", description="not for everybody")
        self.published(self.publish(wheel_filename("ours"), wheel("ours", metadata_bytes=secret)))
        self.assertIn("not for everybody", self.told(project="ours", user="bob"))
        digest = sha256(secret).hexdigest()
        self.upstream.has(
            "eggs",
            wheel_filename("eggs"),
            b"no wheel",
            metadata_sha256=digest,
            metadata_offered=True,
        )
        self.assertNotIn("not for everybody", self.told(project="eggs", user="bob"))

    def test_not_fetching(self) -> None:
        """Who may not have it fetched from there sees nothing of what is not here, and makes nobody
        ask.
        """
        self.assertEqual(self.see().status, 401)
        self.assertEqual(self.upstream.heard, [])


class SignedTests(AttestedCase):
    """Files that came with attestations."""

    def test_signer(self) -> None:
        """Who signed is said, by service, repository and workflow, and links lead to the provenance
        object.
        """
        self.published(self.attested(attestation()))
        page = self.pypid.get("/project/spam/", BROWSER).text
        publisher = json.loads(self.pypid.get(f"/integrity/spam/1.0/{FILENAME}/provenance").body)[
            "attestation_bundles"
        ][0]["publisher"]
        self.assertIn(
            (
                f'<a href="https://github.com/{publisher["repository"]}" rel="nofollow noopener '
                f'noreferrer">'
            ),
            page,
        )
        self.assertIn(publisher["workflow"], page)
        self.assertIn(f'href="../../integrity/spam/1.0/{FILENAME}/provenance"', page)
