"""The same requests to a real pypicloud and to pypid, both started with the same ``config.ini``:
their answers are alike, but for what is named here and in docs/migrate.

The script is a life of a few projects: published, listed, had, deleted; by everybody, at
every address, in the spellings that clients use. Where we answer otherwise the step says how, and
why; it fails when that is so no longer.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from hashlib import md5, sha256
from http.client import HTTPConnection
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from attrs import field, frozen

from tests.distributions import sdist, sdist_filename, wheel, wheel_filename
from tests.live.daemon import PASSWORDS, IndexTestCase, LiveIndex
from tests.live.processes import scratch
from tests.live.pypicloud import pypicloud, pypid_in_its_place

WRITERS: Final = "alice carol admin"
PYPICLOUD: Final = {
    "pypi.fallback": "none",
    "pypi.default_read": "everyone",
    "pypi.default_write": "writers",
    "pypi.allow_delete_groups": "writers",
    "group.writers": WRITERS,
    "package.secret.user.alice": "rw",
}
"""What is not said is pypicloud's default; both read these very lines."""

BOUNDARY: Final = "0123456789abcdef"

# Why an answer is another one. Each stands in docs/migrate/pypicloud.rst.
FORM: Final = (
    "the upload form answers as the public index does: the same bytes 200, other bytes 400"
)
SUBMIT: Final = "old clients register before they upload, and are told that this is not needed"
NO_500: Final = "what a client sends wrong is 400, and never 500"
NAMES: Final = "what is no project's name is not there"
OWN_ADDRESS: Final = (
    "a file has the address of its own project only: there pypicloud asked for the wrong "
    "project's right"
)
KNOWN: Final = "somebody known who lacks the right is 403 everywhere"
METHODS: Final = "a method that an address does not take is 405, and says which it takes"
WORDS: Final = "no is a word for false"
RELEASES: Final = "one release has its own JSON, as on the public index"


@frozen
class Said:
    """An answer: its status, and what is in it, so that two of them can be compared."""

    status: int
    what: Any
    challenge: bool


@frozen(kw_only=True)
class Step:
    """One request; `status` is ours where it is another one, and `why` says why."""

    method: str
    path: str
    user: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = field(default=None, repr=False)
    status: int | None = None
    why: str = ""
    only_status: bool = False
    """What is in it is another thing."""


def get(path: str, user: str | None = None, **more: Any) -> Step:
    """A GET."""
    return Step(method="GET", path=path, user=user, **more)


def delete(path: str, user: str | None = "alice", **more: Any) -> Step:
    """A DELETE."""
    return Step(method="DELETE", path=path, user=user, **more)


def upload(
    path: str,
    filename: str | None,
    data: bytes,
    user: str | None = "alice",
    *,
    texts: Sequence[tuple[str, str]] = (),
    **more: Any,
) -> Step:
    """A form with the file, and what upload tools send with it."""
    parts = [(f'name="{name}"', value.encode()) for name, value in texts]
    if filename is not None:
        parts.append(('name="md5_digest"', md5(data).hexdigest().encode()))
        parts.append((f'name="content"; filename="{filename}"', data))
    lines = [
        b"--%s\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n"
        % (BOUNDARY.encode(), head.encode(), value)
        for head, value in parts
    ]
    body = b"".join([*lines, b"--%s--\r\n" % BOUNDARY.encode()])
    kind = ("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
    return Step(method="POST", path=path, user=user, headers=(kind,), body=body, **more)


SPAM, OLD = wheel_filename("spam", "2.0"), sdist_filename("spam", "1.0")
SPAM_DATA, OLD_DATA = wheel("spam", "2.0", requires_python=">=3.8"), sdist("spam", "1.0")
OTHER_DATA = sdist("spam", "1.0", files={"other.py": b"x = 1\n"})
EGGS, EGGS_DATA = sdist_filename("green-eggs", "0.1"), sdist("green-eggs", "0.1")
HAM, HAM_DATA = sdist_filename("ham", "3.0"), sdist("ham", "3.0")
SECRET, SECRET_DATA = sdist_filename("secret", "1.0"), sdist("secret", "1.0")
UPLOAD = (":action", "file_upload")
SUMMARY = ("summary", "Lovely spam")
EVERYBODY = (None, "bob", "alice", "admin")

PUBLISHING: Final = (
    upload(
        f"/api/package/spam/{SPAM}", SPAM, SPAM_DATA, texts=[SUMMARY, ("requires_python", ">=3.8")]
    ),
    upload(f"/api/package/spam/{SPAM}", SPAM, SPAM_DATA),
    upload(f"/api/package/spam/{SPAM}", SPAM, wheel("spam", "2.0")),
    upload(f"/api/package/spam/{SPAM}/", SPAM, SPAM_DATA),
    upload(f"/api/package/Spam/{SPAM}", SPAM, SPAM_DATA, None),
    upload(f"/api/package/spam/{SPAM}", SPAM, SPAM_DATA, "bob"),
    upload(f"/api/package/secret/{SECRET}", SECRET, SECRET_DATA, "carol"),
    upload("/api/package/SPAM/whatever.tar.gz", OLD, OLD_DATA, texts=[SUMMARY]),
    upload("/api/package/spam/x", None, b""),
    upload("/api/package/spam/x.txt", "x.txt", b"x", status=400, why=NO_500),
    upload(
        "/simple/",
        EGGS,
        EGGS_DATA,
        texts=[UPLOAD, SUMMARY, ("name", "Green_Eggs"), ("version", "0.1")],
    ),
    upload("/simple/", EGGS, EGGS_DATA, texts=[UPLOAD], status=200, why=FORM),
    upload("/simple/", OLD, OTHER_DATA, texts=[UPLOAD], status=400, why=FORM),
    upload("/", HAM, HAM_DATA, "admin", texts=[SUMMARY]),
    upload(
        "/pypi/",
        SECRET,
        SECRET_DATA,
        texts=[UPLOAD, SUMMARY, ("name", "secret"), ("version", "1.0")],
    ),
    upload("/simple/", SECRET, SECRET_DATA, "carol", texts=[UPLOAD]),
    upload("/simple/", SECRET, SECRET_DATA, None, texts=[UPLOAD]),
    upload("/", None, b"", texts=[UPLOAD]),
    upload("/", "nonsense.txt", b"x", texts=[UPLOAD], status=400, why=NO_500),
    upload("/", OLD, OLD_DATA, texts=[(":action", "blah")]),
    upload("/", OLD, OLD_DATA, texts=[(":action", "submit")], status=200, why=SUBMIT),
)
LOOKING: Final = tuple(
    step
    for user in EVERYBODY
    for step in (
        get("/api/package", user),
        get("/api/package?verbose=true", user),
        get("/api/package/", user),
        get("/api/package/?verbose=true", user),
        get("/api/package/?verbose=1", user),
        get("/api/package/?verbose=", user),
        get("/api/package/?verbose=no", user, only_status=True, why=WORDS),
        get("/api/package/spam", user),
        get("/api/package/spam/", user),
        get("/api/package/SPAM/", user),
        get("/api/package/nothing/", user),
        get("/api/package/-x-/", user, status=404, why=NAMES),
        get("/api/package/secret/", user),
        get(f"/api/package/spam/{SPAM}", user),
        get(f"/api/package/Spam/{SPAM}/", user),
        get("/api/package/spam/spam-9.0.tar.gz", user),
        get(f"/api/package/secret/{SECRET}", user),
        get(f"/api/package/other/{SPAM}", user, status=404, why=OWN_ADDRESS),
        get(f"/api/package/spam/{SECRET}", user, status=404, why=OWN_ADDRESS),
        get("/api/", user),
        get("/api/nonsense", user),
        get("/simple", user),
        get("/simple/", user),
        get("/simple/spam", user),
        get("/simple/spam/", user),
        get("/simple/nothing/", user),
        get("/simple/secret/", user, **({"status": 403, "why": KNOWN} if user == "bob" else {})),
        get("/pypi/spam", user),
        get("/pypi/spam/", user),
        get("/spam", user),
        get("/spam/", user),
        get("/nothing/", user),
        get("/secret/", user, **({"status": 403, "why": KNOWN} if user == "bob" else {})),
        get("/-x-/", user),
        get("/pypi/spam/json", user),
        get("/simple/spam/json", user),
        get("/simple/spam/json/", user),
        get("/pypi/nothing/json", user),
        get("/pypi/spam/2.0/json", user, status=200, why=RELEASES),
        get("/packages", user),
        get("/packages/x", user),
        get("/static/", user),
        get("/health", user, only_status=True, why="/health is liveness"),
        Step(method="HEAD", path="/api/package/", user=user),
        Step(method="HEAD", path=f"/api/package/spam/{SPAM}", user=user),
        Step(method="POST", path="/api/package/", user=user, body=b"", status=405, why=METHODS),
    )
)
DELETING: Final = (
    delete(f"/api/package/spam/{SPAM}", None),
    delete(f"/api/package/spam/{SPAM}", "bob"),
    delete(f"/api/package/secret/{SECRET}", "carol"),
    delete("/api/package/spam/", status=405, why=METHODS),
    delete("/api/package/spam/nothing-1.0.tar.gz"),
    delete(f"/api/package/other/{EGGS}", status=400, why=OWN_ADDRESS),
    delete(f"/api/package/spam/{SPAM}"),
    delete(f"/api/package/spam/{SPAM}"),
    delete(f"/api/package/SPAM/{OLD}/"),
    get("/api/package/spam/"),
    get(
        "/api/package/", "alice", only_status=True, why=OWN_ADDRESS
    ),  # there it is deleted, and here it is not
    get(f"/api/package/spam/{SPAM}"),
    get("/simple/spam/", status=200, why="a project of ours stays ours, with no files"),
)


@frozen
class Raw:
    """An answer as it came."""

    status: int
    location: str | None
    kind: str
    challenge: bool
    body: bytes = field(repr=False)


def raw(port: int, step: Step) -> Raw:
    """What is answered at this port of this machine."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    headers = dict(step.headers)
    if step.user is not None:
        headers["Authorization"] = (
            "Basic " + b64encode(f"{step.user}:{PASSWORDS[step.user]}".encode()).decode()
        )
    try:
        connection.request(step.method, step.path, body=step.body, headers=headers)
        answer = connection.getresponse()
        body, head = answer.read(), answer.headers
    finally:
        connection.close()
    return Raw(
        answer.status, head["Location"], head.get_content_type(), "WWW-Authenticate" in head, body
    )


def ask(port: int, step: Step) -> Said:
    """What it says."""
    answer = raw(port, step)
    if answer.status in (301, 302):
        here = f"http://127.0.0.1:{port}{step.path}"
        return Said(302, _path(urljoin(here, answer.location or "")), False)
    return Said(
        answer.status, _what(step, answer.status, answer.kind, answer.body), answer.challenge
    )


def _path(url: str) -> str:
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def _what(step: Step, status: int, kind: str, body: bytes) -> Any:
    """What is in a good answer, without what is another each time; of an error nothing: its words
    are its own.
    """
    if status >= 400 or step.method in ("HEAD", "DELETE"):
        return None
    if kind == "application/json":
        return _plain(json.loads(body), step.path)
    if kind == "text/html":
        return _links(body.decode())
    return sha256(body).hexdigest()


def _links(page: str) -> Any:
    """The texts of a page's links, with the hash and the Python that each names; and of a list of
    projects where they lead.
    """
    found = []
    for attributes, text in re.findall(r"<a ([^>]*)>([^<]*)</a>", page):
        [href] = re.findall(r'href="([^"]*)"', attributes)
        python = re.findall(r'data-requires-python="([^"]*)"', attributes)
        found.append((text, href.partition("#")[2] or href, tuple(python)))
    return sorted(found)


MORE_KEYS: Final = {"message"}
"""Of the document of an upload: what became of it, in words."""


def _plain(document: Any, path: str) -> Any:
    if isinstance(document, dict) and "releases" in document:
        return _legacy(document)
    if isinstance(document, list):
        return [_plain(each, path) for each in document]
    if not isinstance(document, dict):
        return document
    plain = {key: _plain(value, path) for key, value in document.items() if key not in MORE_KEYS}
    if "url" in plain:
        plain["url"] = re.sub(r"^http://127\.0\.0\.1:\d+", "", plain["url"])
    if "last_modified" in plain:
        assert isinstance(plain["last_modified"], int) and plain["last_modified"] > 1_700_000_000, (
            plain
        )
        plain["last_modified"] = "now"
    return plain


def _legacy(document: Any) -> Any:
    """Of a project's JSON what pypicloud had; addresses of files are ours, and what is not known is
    null there, not empty.
    """

    def file(told: Any) -> Any:
        digests = {name: told["digests"][name] for name in ("md5", "sha256")}
        return {
            key: told[key] for key in ("filename", "packagetype", "requires_python", "md5_digest")
        } | digests

    releases = {
        version: [file(each) for each in files] for version, files in document["releases"].items()
    }
    info = {key: document["info"][key] or "" for key in ("name", "version", "license")}
    return (
        info,
        document["info"]["classifiers"],
        releases,
        [file(each) for each in document["urls"]],
    )


class DifferenceTests(IndexTestCase):
    """Two servers, one script."""

    def start(self) -> LiveIndex:
        """One of its own, started with pypicloud's configuration."""
        folder = self.entered(scratch())
        self.theirs = self.entered(pypicloud(folder / "theirs", PYPICLOUD))
        return self.entered(pypid_in_its_place(folder / "ours", PYPICLOUD))

    def test_same(self) -> None:
        """Each step is answered alike, or as it says; and what it says is needed."""
        wrong, used = [], set()
        for step in (*PUBLISHING, *LOOKING, *DELETING):
            theirs, ours = ask(self.theirs.port, step), ask(self.index.port, step)
            if step.why:
                used.add(step.why)
            expected = theirs.status if step.status is None else step.status
            if ours.status != expected:
                wrong.append(f"{step}: {ours.status}, and pypicloud {theirs.status}")
            elif step.status is not None and theirs.status == step.status:
                wrong.append(f"{step}: pypicloud answers {theirs.status}, too")
            elif (
                step.status is None
                and not step.only_status
                and (ours.what, ours.challenge) != (theirs.what, theirs.challenge)
            ):
                wrong.append(f"{step}:\n  pypid     {ours.what}\n  pypicloud {theirs.what}")
        self.assertEqual(wrong, [], "\n".join(["", *wrong]))
        self.assertIn(FORM, used)

    def test_every_file(self) -> None:
        """``/packages/`` has the same files; pypicloud 1.3.12 wrote whole Python dictionaries for
        links there.
        """
        for step in PUBLISHING:
            ask(self.theirs.port, step), ask(self.index.port, step)
        for user in EVERYBODY:
            theirs, ours = (
                ask(port, get("/packages/", user)).what
                for port in (self.theirs.port, self.index.port)
            )
            self.assertEqual([link[0] for link in ours], [link[0] for link in theirs])
            self.assertTrue(all(re.fullmatch("sha256=[0-9a-f]{64}", link[1]) for link in ours))
