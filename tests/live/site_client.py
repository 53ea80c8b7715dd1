"""A client that goes through the site by links and forms, without a browser: cookies, redirects
and relative links as there.

Quick enough to see every page of it in each deployment; what scripts and eyes meet,
`tests.live.browser` looks at.
"""

import http.client
import ssl
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from typing import Final
from urllib.parse import urldefrag, urlencode, urljoin, urlsplit

from attrs import Factory, define, field, frozen

from tests.live.daemon import PASSWORDS

LINKS: Final = {"a": "href", "link": "href", "script": "src", "img": "src", "form": "action"}
MOST_REDIRECTS: Final = 5
OF_A_KIND: Final = 3
"""Pages of one kind that are looked at."""


@frozen
class Form:
    """A form of a page: where it goes, and what it sends if nothing is typed."""

    action: str
    method: str
    fields: Mapping[str, str]


class _Page(HTMLParser):
    """The addresses in a page, and its forms."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self.base = base
        self.links: list[str] = []
        self.forms: list[Form] = []
        self.words: list[str] = []
        self._fields: dict[str, str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        if said.get(LINKS.get(tag, "")) is not None and LINKS.get(tag) in said:
            address = urljoin(self.base, said[LINKS[tag]])
            if tag == "form" and said.get("method", "get") != "get":
                self._fields = {}
                self.forms.append(Form(address, said["method"], self._fields))
            else:
                self.links.append(urldefrag(address).url)
        if (
            tag == "input"
            and self._fields is not None
            and said.get("type") not in ("checkbox", "radio", "submit")
        ):
            self._fields[said.get("name", "")] = said.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._fields = None

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@frozen
class Got:
    """What came in the end, and the address where it was."""

    url: str
    status: int
    headers: http.client.HTTPMessage
    body: bytes = field(repr=False)
    asked: str = ""
    """The address that was asked for at first."""

    @property
    def text(self) -> str:
        """The body."""
        return self.body.decode()

    @property
    def is_page(self) -> bool:
        """Whether it is HTML."""
        return (self.headers["Content-Type"] or "").startswith("text/html")

    def read(self) -> _Page:
        """Its links and forms."""
        page = _Page(self.url)
        page.feed(self.text)
        return page

    def form(self, ends: str) -> Form:
        """The last form whose action ends so."""
        found = [form for form in self.read().forms if urlsplit(form.action).path.endswith(ends)]
        assert found, f"no form for {ends} at {self.url}: {self.text}"
        return found[-1]

    @property
    def says(self) -> str:
        """Its words."""
        return " ".join(" ".join(self.read().words).split())


@define
class Visitor:
    """A visitor at `base`, the address of the first page; `port`: where to connect; `trust`: for
    TLS.
    """

    base: str
    port: int
    trust: ssl.SSLContext | None = None
    host: str = ""
    """What is asked for, if that is not where `base` is."""
    cookies: dict[str, str] = Factory(dict)
    set_cookies: list[str] = Factory(list)
    kept: http.client.HTTPConnection | None = None
    """One connection for all, in place of one each."""

    def at(self, path: str) -> str:
        """The address of a page, by its path from the root."""
        return self.base + path.removeprefix("/")

    def get(self, path: str, **headers: str) -> Got:
        """The page; redirects are followed."""
        return self.go(urljoin(self.base, path), headers=headers)

    def go(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Got:
        """As a browser goes there. Raises `AssertionError` for a way that leads off this host, or
        round in circles.
        """
        asked = url
        for _ in range(MOST_REDIRECTS):
            got = self.ask(url, method, body, headers)
            if got.status not in (301, 302, 303, 307, 308):
                return Got(url, got.status, got.headers, got.body, asked)
            url = urldefrag(urljoin(url, got.headers["Location"])).url
            assert url.startswith(self.base), (
                f"{asked} leads to {url}, which is not below {self.base}"
            )
            if got.status in (301, 302, 303):
                method, body = "GET", None
                headers = {
                    name: value
                    for name, value in (headers or {}).items()
                    if name not in ("Content-Type", "Origin")
                }
        raise AssertionError(f"{asked} leads round in circles")

    def ask(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Got:
        """One request; nothing is followed."""
        parts = urlsplit(url)
        if self.kept is not None:
            connection = self.kept
        elif self.trust is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        else:
            connection = http.client.HTTPSConnection(
                "127.0.0.1", self.port, timeout=30, context=self.trust
            )
        said = {
            "Host": self.host or parts.netloc,
            "Accept": "text/html,*/*;q=0.8",
            "User-Agent": "visitor",
        }
        said.update(
            {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
            if self.cookies
            else {}
        )
        try:
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            connection.request(method, path, body, {**said, **(headers or {})})
            answer = connection.getresponse()
            got = Got(url, answer.status, answer.headers, answer.read())
        finally:
            if connection is not self.kept:
                connection.close()
        self._keep(got.headers.get_all("Set-Cookie") or [])
        return got

    def _keep(self, lines: list[str]) -> None:
        self.set_cookies += lines
        for line in lines:
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value

    @property
    def origin(self) -> str:
        """What a browser says of our pages."""
        parts = urlsplit(self.base)
        return f"{parts.scheme}://{parts.netloc}"

    def send(self, form: Form, /, **typed: str) -> Got:
        """What a browser sends by the form, with what was typed."""
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": self.origin}
        body = urlencode({**form.fields, **typed}).encode()
        assert form.action.startswith(self.base), form.action
        return self.go(form.action, form.method.upper(), body, headers)

    def log_in(self, user: str, password: str | None = None, at: str = "account/login") -> Got:
        """By the form."""
        page = self.get(at)
        assert page.status == 200, (page.status, page.text)
        return self.send(
            page.form("account/login"),
            user=user,
            password=PASSWORDS[user] if password is None else password,
        )

    def upload(self, filename: str, data: bytes, **typed: str) -> Got:
        """By the form of the page, without a script."""
        form = self.get("upload").form("upload")
        head = {name: value for name, value in form.fields.items() if name != "file"}
        parts = [
            f'--=x=\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in {**head, **typed}.items()
        ]
        disposition = (
            f'--=x=\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
        )
        parts.append(
            f"{disposition}Content-Type: application/octet-stream\r\n\r\n".encode() + data + b"\r\n"
        )
        headers = {"Content-Type": "multipart/form-data; boundary==x=", "Origin": self.origin}
        return self.go(form.action, "POST", b"".join(parts) + b"--=x=--\r\n", headers)

    def walk(self, kind_of: Callable[[str], str], beginning: str = "") -> "Walk":
        """See a few pages of each kind, and all that they need, from the first on."""
        walk = Walk()
        ways = {urljoin(self.base, beginning): "(the beginning)"}
        done = 0
        while done < len(ways):
            url, way = list(ways.items())[done]
            done += 1
            if not url.startswith(self.base):
                if urlsplit(url).netloc == urlsplit(self.base).netloc:
                    walk.faults.append(f"{url} (linked on {way}) is not below {self.base}")
                continue
            kind = kind_of("/" + urlsplit(url[len(self.base) :]).path)
            walk.kinds[kind] = walk.kinds.get(kind, 0) + 1
            if walk.kinds[kind] > OF_A_KIND:
                continue
            try:
                got = self.go(url)
            except AssertionError as error:
                walk.faults.append(f"{error} (linked on {way})")
                continue
            if got.status >= 400:
                walk.faults.append(f"{got.status} for {url} (linked on {way})")
            walk.seen[url] = got
            if got.is_page:
                page = got.read()
                for link in page.links:
                    ways.setdefault(link, url)
                walk.faults += [
                    f"a form of {url} goes to {form.action}"
                    for form in page.forms
                    if not form.action.startswith(self.base)
                ]
        return walk


@define
class Walk:
    """What was seen."""

    seen: dict[str, Got] = Factory(dict)
    faults: list[str] = Factory(list)
    kinds: dict[str, int] = Factory(dict)
    """How many addresses of each route were linked."""
