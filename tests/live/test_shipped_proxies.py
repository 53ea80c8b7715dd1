"""The shipped nginx configurations and Caddyfile, with TLS, before a pypid with an upstream and etc/pypid.ini."""

import http.client
import json
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from tests.live.certificates import Authority
from tests.live.clients import ROOT, tool
from tests.live.isolation import pip, uv, works
from tests.live.processes import BIN, clean_environ, free_port, running, scratch
from tests.live.projects import wheel
from tests.live.test_install import NEWEST, installed
from tests.live.test_nginx_static import (
    CERTIFICATE,
    FIRST,
    JSON,
    KEY,
    configured,
    with_settings,
)
from tests.live.upstreams import FrontedCase

TTL = 2
"""Seconds after which pypid asks upstream again; the default is ten minutes."""


@frozen
class Secure:
    """An nginx with TLS, and where clients find the authority that they trust."""

    port: int
    trusted: Path

    @property
    def url(self) -> str:
        """The URL of the index."""
        return f"https://127.0.0.1:{self.port}/simple/"

    def ask(self, path: str, **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
        """A response and its body."""
        trust = ssl.create_default_context(cafile=str(self.trusted))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=trust)
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def files(self, project: str) -> list[str]:
        """The names of the files on a page."""
        _, body = self.ask(f"/simple/{project}/", Accept=JSON)
        return [file["filename"] for file in json.loads(body)["files"]]


@contextmanager
def shipped(
    folder: Path, upstream: int, *, published: bool = False, caddy: bool = False
) -> Iterator[Secure]:
    """pypid and a proxy with the files in etc/: of the proxy's, its values are replaced; pypid's come from the environment."""
    port, behind = free_port(), free_port()
    environ = {
        "PYPID_SERVER_LISTEN": f"tcp:{behind}:interface=127.0.0.1",
        "PYPID_SERVER_PUBLIC_URL": f"https://127.0.0.1:{port}",
        "PYPID_SERVER_STATE": str(folder / "state"),
        "PYPID_SERVER_TRUSTED_PROXIES": "127.0.0.1",
        "PYPID_ADVISORIES_SOURCE": "",
        "PYPID_UPSTREAM_COOLDOWN": "0",
        "PYPID_UPSTREAM_TTL": f"{TTL}s",
        "PYPID_UPSTREAM_URL": f"http://127.0.0.1:{upstream}/simple/",
    }
    authority = Authority()
    authority.issue(folder / "chain.pem", folder / "key.pem")
    values = {
        "BACKEND": f"127.0.0.1:{behind}",
        "HOME": str(folder),
        "SITE_ADDRESS": f"https://127.0.0.1:{port}",
    }
    proxy = with_caddy(folder) if caddy else with_nginx(folder, port, behind, published)
    command = [BIN / "pypid", "serve", "--config", ROOT / "etc/pypid.ini"]
    with (
        running(
            command, folder / "pypid.log", cwd=folder, environ=clean_environ(**environ)
        ) as daemon,
        running(proxy, folder / "output", environ=clean_environ(**values)),
    ):
        daemon.until_answers(f"http://127.0.0.1:{behind}/ready")
        yield Secure(port, authority.pem(folder))


def with_nginx(folder: Path, port: int, behind: int, published: bool) -> list[str | Path]:
    """The command that runs nginx, with the file that sends an exported folder if `published`."""
    chain, key = folder / "chain.pem", folder / "key.pem"
    if published:
        secure = {
            "listen 443 ssl http2;": f"listen 127.0.0.1:{port} ssl http2;",
            f"    ssl_certificate {CERTIFICATE};\n": f"ssl_certificate {chain};",
            f"    ssl_certificate_key {KEY};\n": f"ssl_certificate_key {key};",
            FIRST: FIRST,
        }
        return configured(folder, folder / "tree", behind, port, secure)
    text = (ROOT / "etc/nginx.conf").read_text()
    for old, new in {
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        f"{CERTIFICATE};": f"{chain};",
        f"{KEY};": f"{key};",
        "proxy_pass http://127.0.0.1:6543;": f"proxy_pass http://127.0.0.1:{behind};",
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / "pypid.conf").write_text(text)
    return with_settings(folder, f"include {folder}/pypid.conf;")


def with_caddy(folder: Path) -> list[str | Path]:
    """The command that runs Caddy, without its administration and with the tests' certificate."""
    program = tool("caddy")
    text = (ROOT / "etc/Caddyfile").read_text()
    site = "\n{$SITE_ADDRESS:packages.example.org} {"
    assert site in text
    own = f"{site}\n\ttls {folder}/chain.pem {folder}/key.pem"
    text = "{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + text.replace(site, own)
    (folder / "Caddyfile").write_text(text)
    return [program, "run", "--adapter", "caddyfile", "--config", folder / "Caddyfile"]


class UpstreamTests(FrontedCase):
    """An upstream with one release, to which a second is added."""

    def setUp(self) -> None:
        super().setUp()
        self.upstream_has("spam", wheel("spam", "1.0"))

    async def test_new_release_is_visible_within_the_ttl(self) -> None:
        """A new upstream release is visible within the ttl."""
        await self.check_new_release()

    async def test_new_release_is_visible_with_an_export(self) -> None:
        """With nginx-published.conf, which sends files from a folder with the index."""
        await self.check_new_release(published=True)

    async def test_new_release_is_visible_through_caddy(self) -> None:
        """The same through Caddy."""
        await self.check_new_release(caddy=True)

    async def check_new_release(self, **options: bool) -> None:
        """pip and uv install the first release, and the second one once the ttl is over."""
        folder = self.entered(scratch())
        front = await self.run_(self.entered, shipped(folder, self.port, **options))
        await self.installs(front, folder, "spam-1.0")
        self.upstream_has("spam", wheel("spam", "2.0"))
        begun = time.monotonic()
        while "spam-2.0-py2.py3-none-any.whl" not in await self.run_(front.files, "spam"):
            self.assertLess(time.monotonic() - begun, TTL + 2)
            await self.pause(0.1)
        await self.installs(front, folder, "spam-2.0")

    async def installs(self, front: Secure, folder: Path, release: str) -> None:
        """pip and uv install it over TLS."""
        trust = {"PIP_CERT": str(front.trusted), "SSL_CERT_FILE": str(front.trusted)}
        for command in pip(NEWEST, "install", front.url), uv(front.url, "--no-cache"):
            with scratch() as target:
                words = [*command, "--no-cache-dir"] if "install" in command[:2] else command
                await self.run_(works, [*words, "--target", target, "spam"], folder, **trust)
                self.assertEqual(installed(target), {release})

    async def test_tls_reaches_pypid(self) -> None:
        """pypid knows of TLS: the commands on its first page begin with https."""
        for caddy in False, True:
            folder = self.entered(scratch())
            front = await self.run_(self.entered, shipped(folder, self.port, caddy=caddy))
            response, body = await self.run_(front.ask, "/", Accept="text/html")
            self.assertEqual(response.status, 200)
            self.assertIn(f"https://127.0.0.1:{front.port}/", body.decode())
