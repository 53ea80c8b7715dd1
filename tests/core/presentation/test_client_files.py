"""The settings of clients: what pip, the .pypirc readers and uv make of them."""

from __future__ import annotations

import tomllib
from configparser import ConfigParser

from twisted.trial.unittest import SynchronousTestCase

from pypid.core.presentation.client_files import FILES, IndexAddress, pip_conf, pypirc, uv_toml


def read(text: str) -> ConfigParser:
    """As pip and distutils read an INI file."""
    parser = ConfigParser(interpolation=None)
    parser.read_string(text)
    return parser


class FilesTests(SynchronousTestCase):
    def test_pip(self) -> None:
        """pip.conf has one index URL, and nothing that could bring a second index in."""
        found = read(pip_conf(IndexAddress("https://index.example")))
        self.assertEqual(
            {name: dict(found[name]) for name in found.sections()},
            {"global": {"index-url": "https://index.example/simple/"}},
        )

    def test_pip_without_tls(self) -> None:
        """A host without TLS has to be named, or pip leaves it out; this very machine has not."""
        self.assertEqual(
            read(pip_conf(IndexAddress("http://index.example:8080")))["global"]["trusted-host"],
            "index.example:8080",
        )
        for here in (
            "http://127.0.0.1:6543",
            "http://[::1]:6543",
            "http://localhost",
            "http://a.localhost:1",
            "https://index.example",
        ):
            self.assertNotIn("trusted-host", pip_conf(IndexAddress(here)))

    def test_pypirc(self) -> None:
        """.pypirc names one index, its upload URL and the user of a token; no password."""
        found = read(pypirc(IndexAddress("https://index.example/pypi")))
        self.assertEqual(found["distutils"]["index-servers"].split(), ["pypid"])
        self.assertEqual(
            dict(found["pypid"]),
            {"repository": "https://index.example/pypi/legacy/", "username": "__token__"},
        )

    def test_uv(self) -> None:
        """uv.toml makes the index the only one, and says where to publish."""
        [index] = tomllib.loads(uv_toml(IndexAddress("https://index.example")))["index"]
        self.assertEqual(
            (index["url"], index["publish-url"]),
            ("https://index.example/simple/", "https://index.example/legacy/"),
        )
        self.assertIs(index["default"], True)

    def test_login(self) -> None:
        """Where nobody in particular may read, the files tell how to log in, and only there."""
        for write in (pip_conf, uv_toml):
            self.assertIn("netrc", write(IndexAddress("https://index.example", login=True)))
            self.assertNotIn("netrc", write(IndexAddress("https://index.example")))

    def test_authority(self) -> None:
        """A certificate that has to be trusted is named in every file, with the address it is had
        from.
        """
        for write in FILES.values():
            self.assertIn(
                "https://index.example/config/ca.pem",
                write(IndexAddress("https://index.example", ca=True)),
            )
            self.assertNotIn(".pem", write(IndexAddress("https://index.example")))
