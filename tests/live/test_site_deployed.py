"""The site wherever it may run: below a path, behind TLS that is not ours, in front of another
index.
"""

import atexit
import functools
import ssl
from contextlib import ExitStack

from attrs import evolve, frozen

from tests.live.certificates import Authority
from tests.live.crawler import kind_of
from tests.live.daemon import IndexTestCase, LiveIndex, Settings, pypid, shared
from tests.live.fronts import nginx, server
from tests.live.processes import free_port, scratch
from tests.live.projects import publish
from tests.live.site_client import Visitor
from tests.live.site_content import MARKDOWN, MODULES, SPAM, does, published
from tests.live.site_content import settings as of_a_team

PATH = "/python/"
PROXIED = Settings(server="trusted_proxies = 127.0.0.1", access="backend = config sql\n")


def stock(index: LiveIndex) -> None:
    """A little of everything."""
    spam = {
        "summary": "Lovely spam",
        "readme": MARKDOWN,
        "content_type": "text/markdown",
        "also": SPAM,
        "files": MODULES,
    }
    publish(
        index,
        published("spam", "1.0", summary="Spam"),
        published("spam", "2.0", **spam),  # type: ignore[arg-type]
        published("spam", "2.0", source=True, **spam),  # type: ignore[arg-type]
        published("eggs", "1!1.0+local.7", summary="Fried"),
    )
    does(index, "PUT", "/api/projects/spam/releases/1.0/yank", {"reason": "It was broken."})
    does(index, "POST", "/api/groups", {"name": "kitchen"})
    does(index, "PUT", "/api/projects/eggs/rights/user/alice", {"right": "rw"})
    does(index, "POST", "/api/tokens", {"name": "laptop", "actions": ["read"], "expires": "30d"})


@frozen
class Below:
    """A pypid below a path of another host."""

    index: LiveIndex
    port: int

    def visitor(self) -> Visitor:
        """Somebody who knows that address alone."""
        return Visitor(f"http://127.0.0.1:{self.port}{PATH}", self.port)


@functools.cache
def below() -> Below:
    """The one of this process."""
    stack = ExitStack()
    atexit.register(stack.close)
    port = free_port()
    lines = f"trusted_proxies = 127.0.0.1\npublic_url = http://127.0.0.1:{port}{PATH}"
    index = stack.enter_context(pypid(stack.enter_context(scratch()), of_a_team(server=lines)))
    stack.enter_context(nginx(stack.enter_context(scratch()), server(port, index.port, path=PATH)))
    stock(index)
    return Below(index, port)


class BelowCase(IndexTestCase):
    """``location /python/ { proxy_pass http://127.0.0.1:6543/; }``."""

    def start(self) -> LiveIndex:
        self.below = below()
        return self.below.index


class BelowTests(BelowCase):
    def test_everything(self) -> None:
        """Every page, style sheet, feed and file that an administrator is led to is there, and no
        link, form or redirect leads out of the path.
        """
        admin = self.below.visitor()
        self.assertEqual(admin.log_in("admin").url, admin.base)
        walk = admin.walk(kind_of)
        # a dependency that no index has is linked, too
        faults = [each for each in walk.faults if "/project/nowhere-to-be-found/" not in each]
        self.assertEqual(faults, [])
        pages = (
            "/",
            "/search",
            "/project/<project>/",
            "/project/<project>/-/compare",
            "/account/",
            "/manage/",
            "/upload",
        )
        others = (
            "/_/ui/<digest>/<name>",
            "/rss/updates.xml",
            "/simple/<project>/",
            "/packages/<project>/<filename>",
        )
        self.assertEqual({*pages, *others} - walk.kinds.keys(), set())
        self.assertNotIn("", walk.kinds)
        self.assertEqual(
            [url for url, got in walk.seen.items() if got.is_page and "html" not in got.text[:40]],
            [],
        )


class SecureTests(IndexTestCase):
    """nginx speaks TLS, pypid does not."""

    def start(self) -> LiveIndex:
        authority = Authority()
        self.trust = ssl.create_default_context(cafile=str(authority.pem(self.folder)))
        authority.issue(self.folder / "chain.pem", self.folder / "key.pem")
        return shared(PROXIED)

    def fronted(self, behind: int, host: str) -> Visitor:
        """Somebody who comes by TLS; the Host that pypid is told is this one."""
        port = free_port()
        self.entered(
            nginx(self.folder / f"nginx-{port}", server(port, behind, host=host, tls=self.folder))
        )
        return Visitor(f"https://127.0.0.1:{port}/", port, self.trust)

    def forms_work(self, alice: Visitor, project: str) -> None:
        """Log in, upload, make a token, log out."""
        self.assertEqual(alice.log_in("alice").url, alice.base)
        [line] = alice.set_cookies
        self.assertRegex(
            line,
            (
                "^__Host-pypid_session=[\\w-]{43}; Path=/; Max-Age=\\d+; HttpOnly; SameSite=Lax; "
                "Secure$"
            ),
        )
        file = published(project)
        self.assertIn(f"{project} 1.0", alice.upload(file.filename, file.data).says)
        made = alice.send(
            alice.get("account/").form("account/tokens"), name="x", actions="read", expires="30d"
        )
        self.assertEqual(made.status, 201, made.says)
        self.assertIn("pypi-", made.says)
        self.assertIn("You are logged out.", alice.send(made.form("account/logout")).says)

    def test_changed_host(self) -> None:
        """With another Host the page says what an administrator has to set; once public_url is set,
        forms work.
        """
        alice = self.fronted(self.index.port, "$proxy_host")
        refused = alice.log_in("alice")
        self.assertEqual((refused.status, refused.is_page, alice.cookies), (403, True, {}))
        for word in (
            alice.base.rstrip("/"),
            f"127.0.0.1:{self.index.port}",
            "public_url",
            "proxy_set_header Host $http_host",
        ):
            self.assertIn(word, refused.says)
        port = free_port()
        place = self.folder / "pypid"
        place.mkdir()
        lines = f"trusted_proxies = 127.0.0.1\npublic_url = https://127.0.0.1:{port}"
        with pypid(place, evolve(PROXIED, server=lines)) as index:
            self.entered(
                nginx(
                    self.folder / "known",
                    server(port, index.port, host="$proxy_host", tls=self.folder),
                )
            )
            self.forms_work(Visitor(f"https://127.0.0.1:{port}/", port, self.trust), "known")
            stranger = Visitor(f"https://127.0.0.1:{port}/", port, self.trust)
            form = stranger.get("account/login").form("account/login")
            other = {
                "Content-Type": "application/x-www-form-urlencoded",
                "Origin": "https://evil.example",
            }
            self.assertEqual(stranger.go(form.action, "POST", b"user=alice", other).status, 403)
