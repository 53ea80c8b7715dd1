"""With a fast path and without one the same bytes come back, whatever is asked."""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path

from attrs import frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.accounts.rights import grants_of, parse_right
from pypid.core.permissions import EVERYONE, Principals, Rules
from tests.support.worlds import world
from tests.web.fast_path_pair import SESSION, Both, Pair, link_files
from tests.web.full_app import HOST, HTML, SECRET, Fragile, H, J, Pypid, WholeCase, basic

FILE = "spam-1.0-py3-none-any.whl"
PATHS = {
    "/simple/spam/": "project",
    "/simple/tiny/": "project",
    "/simple/private/": "project",
    "/simple/large/": "large",
    "/simple/": "list",
    f"/packages/spam/{FILE}.metadata": "metadata",
    "/pypi/spam/json": "legacy",
    f"/packages/spam/{FILE}": "file",
}
ODD_PATHS = (
    "/simple/spam",
    "/simple/Spam/",
    "/simple/%73pam/",
    "/simple/spam/?format=application/vnd.pypi.simple.v1%2Bjson",
    "/simple/spam/?format=nonsense",
    "/simple/spam/?x",
    "/simple/never/",
    "/local/spam/",
    "/legacy/+simple/spam/",
    f"http://{HOST}/simple/spam/",
    "//simple/spam/",
    "/simple//",
    "*",
    "/health",
    "/simple/ spam/",
    "/simple/\xe9/",
    "",
)
ACCEPTS = (None, HTML, J, J, f"{J}, {H}; q=0.1, text/html; q=0.01", "*/*", "application/nonsense")
ENCODINGS = (None, None, "gzip", "gzip, deflate", "identity", "gzip;q=0")
CREDENTIALS: dict[str, tuple[tuple[str, str], ...]] = {
    "anonymous": (),
    "password": (basic("alice"),),
    "token": (("Authorization", f"Bearer {SECRET}"),),
    "cookie": (("Cookie", f"theme=dark; {SESSION[0]}={SESSION[1]}"),),
}
ODD_CREDENTIALS = (
    (basic("bob"),),
    (basic("__token__"),),
    (basic("alice"), basic("alice")),
    (("Authorization", "Basic !"),),
    (("Authorization", "Bearer pypid-nonsense"),),
    (("Cookie", f"{SESSION[0]}=nonsense"),),
    (("authorization", basic("bob")[1]),),
)
EXTRAS = (
    ("Range", "bytes=0-9"),
    ("If-Range", '"x"'),
    ("If-Match", "*"),
    ("If-Modified-Since", "Sun, 06 Nov 2044 08:49:37 GMT"),
    ("Expect", "100-continue"),
    ("Connection", "close"),
    ("Connection", "Keep-Alive"),
    ("Connection", "Upgrade"),
    ("Upgrade", "h2c"),
    ("Content-Length", "0"),
    ("Content-Length", "5"),
    ("Transfer-Encoding", "chunked"),
    ("Accept", "text/html"),
    ("Host", "other.example"),
    ("host", HOST),
    ("Via", "1.1 somebody"),
    ("X-Forwarded-For", "198.51.100.1"),
    ("X-Forwarded-Host", "elsewhere.example"),
    ("Origin", "https://elsewhere.example"),
    ("User-Agent", "pip/26.2"),
    ("User-Agent", "r\xe9quests"),
    ("Cache-Control", "max-age=0"),
    ("X Y", "a space in the name"),
    ("Accept ", "a space behind it"),
    ("", "no name"),
    ("X-Folded", "one\r\n two"),
    ("X-Null", "\0"),
    ("X-Long", "x" * 20_000),
)


@frozen
class Asked:
    """One request, and what it is if it is a plain one."""

    data: bytes
    kinds: tuple[str, ...] = ()


Tags = dict[tuple[str, str | None, str | None], str]
"""By path, Accept and Accept-Encoding."""
TAG_PLACES = (0, 1, None)
"""Where among the headers If-None-Match stands; None: behind them."""


def tags_of(pair: Pair) -> Tags:
    """The entity tags of the plain answers."""
    cold = Pypid.ask
    found = {}
    for path in PATHS:
        for accept in dict.fromkeys(ACCEPTS):
            for encoding in dict.fromkeys(ENCODINGS):
                headers = [
                    (name, value)
                    for name, value in (("Accept", accept), ("Accept-Encoding", encoding))
                    if value
                ]
                answer = cold(pair.pypid, "GET", path, *headers, user="ada")
                found[path, accept, encoding] = answer["etag"] or '"none"'
    return found


def spelled(
    method: str, path: str, headers: list[tuple[str, str]], version: str = "HTTP/1.1"
) -> bytes:
    """The bytes of a request."""
    lines = [f"{method} {path} {version}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


class EqualityCase(WholeCase):
    """A pypid of which some projects are for some only, in two shapes: one gives files itself, one
    sends elsewhere for them.
    """

    rules = Rules(
        read=EVERYONE,
        write=Principals(users=frozenset({"alice"})),
        projects=grants_of(
            [parse_right("private.user.alice", "rw"), parse_right("private.user.bob", "r")]
        ),
    )

    def setUp(self) -> None:
        """Make both, over the same files."""
        self.blobs = Fragile(world().now)
        self.pairs = [self.pair(links=False), self.pair(links=True)]
        self.tags = [tags_of(pair) for pair in self.pairs]

    def pair(self, *, links: bool) -> Pair:
        """One of them."""
        folder = Path(self.mktemp())
        self.pypid = Pypid(folder, rules=self.rules, blobs=self.blobs)
        if not links:
            for count in range(12):
                self.have_wheel("spam", f"1.{count}")
            for count in range(100):
                self.have_wheel("large", f"1.{count}")
            self.have_wheel("tiny")
            self.have_wheel("private")
        self.have(self.pypid.index.maintenance.reconcile())
        if links:
            link_files(self.pypid)
        return Pair(self.pypid, folder)


@st.composite
def talks(draw: st.DrawFn, easy: list[Asked], hard: st.SearchStrategy[Asked]) -> list[Asked]:
    """Mostly plain requests, so that the fast path has something to do: all kinds of them alike,
    which hypothesis's own draws are not, and a seed for them all takes less time than a draw for
    each. An odd one may be the end of the connection, or the beginning of a body: most come late.
    """
    chance = draw(st.randoms(use_true_random=True))
    wanted = chance.choices(easy, k=draw(st.integers(8, 12)))
    for each in draw(st.lists(hard, max_size=2)):
        wanted.insert(
            chance.randint(0, len(wanted))
            if chance.random() < 0.2
            else len(wanted) - chance.randint(0, 2),
            each,
        )
    return wanted


@st.composite
def odd(draw: st.DrawFn, tags: Tags) -> Asked:
    """All else that may be sent."""
    method = draw(
        st.sampled_from(["GET", "GET", "HEAD", "OPTIONS", "POST", "get", "DELETE", "G\xe9T"])
    )
    path = draw(st.sampled_from([*PATHS, *ODD_PATHS]))
    headers = [("Host", draw(st.sampled_from([HOST, HOST, HOST, "other.example:8080", "", "a b"])))]
    accept, encoding = draw(st.sampled_from(ACCEPTS)), draw(st.sampled_from(ENCODINGS))
    headers += [
        (name, value)
        for name, value in (("accept", accept), ("ACCEPT-ENCODING", encoding))
        if value
    ]
    headers += draw(st.sampled_from([(), *CREDENTIALS.values(), *ODD_CREDENTIALS]))
    headers += draw(st.lists(st.sampled_from(EXTRAS), max_size=2))
    known = tags.get((path, accept, encoding), '"none"')
    headers += draw(
        st.sampled_from(
            [
                [],
                [],
                [("If-None-Match", f'"other", {known}')],
                [("If-None-Match", f"W/{known}")],
                [("If-None-Match", "*")],
                [("If-None-Match", f"{known} {known}")],
                [("If-None-Match", known[:-1])],
                [("If-None-Match", f"{known}\r\n, {known}")],
                [("if-none-match", known)],
                [("If-None-Match", known), ("If-None-Match", '"x"')],
            ]
        )
    )
    headers = draw(st.permutations(headers))
    data = spelled(
        method,
        path,
        headers,
        draw(st.sampled_from(["HTTP/1.1"] * 6 + ["HTTP/1.0", "http/1.1", "HTTP/1.2", ""])),
    )
    return Asked(
        draw(
            st.sampled_from(
                [data] * 6
                + [data.replace(b"\r\n", b"\n"), data[:-2], data + b"\r\n", b"\r\n" + data]
            )
        )
    )


def plain(tags: Tags) -> list[Asked]:
    """All requests as installers make them, each as often as it is wanted."""
    found = []
    file = f"/packages/spam/{FILE}"
    paths = [
        *PATHS,
        "/simple/",
        "/simple/large/",
        "/pypi/spam/json",
        file,
        file,
        file,
        f"{file}.metadata",
    ]
    for method, path, who, accept, encoding in product(
        ("GET", "GET", "HEAD"), paths, CREDENTIALS, (HTML, J), (None, "gzip")
    ):
        encoded = [] if encoding is None else [("Accept-Encoding", encoding)]
        headers = [("Host", HOST), ("Accept", accept), *encoded, *CREDENTIALS[who]]
        kinds = (
            method,
            "JSON" if accept == J else "HTML",
            encoding or "identity",
            who,
            PATHS[path],
        )
        found += [Asked(spelled(method, path, headers), kinds)] * 2 * len(TAG_PLACES)
        for place in TAG_PLACES:
            known = headers.copy()
            known.insert(
                len(headers) if place is None else place,
                ("If-None-Match", tags[path, accept, encoding]),
            )
            found.append(Asked(spelled(method, path, known), (*kinds, "revalidated")))
    return found


class EqualityTests(EqualityCase):
    """The same questions, the same answers."""

    def test_same_bytes(self) -> None:
        """Whatever is asked, in whatever pieces it comes: the answers, and the ends of connections,
        are the same to the byte, dates aside. Of all requests the fast path answers at least two
        fifths, of each kind a hundred.
        """
        asked: Counter[str] = Counter()
        answered: Counter[str] = Counter()
        talks_of = [talks(plain(tags), odd(tags)) for tags in self.tags]

        @settings(
            max_examples=240,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @given(st.data())
        def talk(data: st.DataObject) -> None:
            which = data.draw(st.sampled_from([0, 1, 1]))
            pair = self.pairs[which]
            wanted = data.draw(talks_of[which])
            stream = b"".join(each.data for each in wanted)
            cuts = data.draw(st.sampled_from([None] * 10 + ["one", "some"]))
            both = pair.connect()
            try:
                if cuts is None:
                    for each in wanted:
                        if both.sent[1][1]:  # it is closed, and what comes is lost
                            break
                        asked["all"] += 1
                        if self.sent(both, each.data):
                            answered.update(("all", *each.kinds))
                            answered[
                                "redirect"
                                if which and {"file", "GET"} <= {*each.kinds}
                                else "served"
                            ] += 1
                    return
                asked["all"] += len(wanted)
                at = (
                    sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=6)))
                    if cuts == "some"
                    else []
                )
                for begin, end in zip([0, *at], [*at, len(stream)], strict=True):
                    answered["all"] += self.sent(both, stream[begin:end])
            finally:
                both.lose()

        talk()
        self.assertGreaterEqual(answered["all"], 0.4 * asked["all"], (answered, asked))
        few = {kind: count for kind, count in answered.items() if count < 100}
        self.assertEqual(few, {}, answered)
        kinds = {
            "GET",
            "HEAD",
            "revalidated",
            "HTML",
            "JSON",
            "identity",
            "gzip",
            *CREDENTIALS,
            *PATHS.values(),
            "redirect",
        }
        self.assertEqual(kinds - answered.keys(), set())
        for pair in self.pairs:
            pair.fast_path.flush()
            hot, cold = pair.lines
            self.assertEqual(hot.texts, cold.texts)

    def sent(self, both: Both, data: bytes) -> bool:
        """Send a piece, and compare; whether the fast path answered."""
        known = both.send(data)
        hot, cold = both.sent
        self.assertEqual(hot, cold, data)
        return known


class SmallTests(SynchronousTestCase):
    """The parts of it."""

    def test_kinds(self) -> None:
        """The plain requests are of all kinds that there are."""
        self.assertEqual(
            set(PATHS.values()), {"project", "large", "list", "metadata", "legacy", "file"}
        )
