"""The hosts of upstream's files: `pypid.upstream.hosts`."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pypid.core.configuration.parse import Config
from pypid.upstream.hosts import FileHosts


class FileHostsTests(SynchronousTestCase):
    """Which hosts files may come from without further conditions."""

    def test_own_host(self) -> None:
        """An index's own host counts with its own port and the standard ones, and with no other."""
        hosts = FileHosts.of(
            ("http://ada:secret@Nexus.lan:8081/repository/simple", "https://[fd00::1]/simple/")
        )
        for url in (
            "http://nexus.lan:8081/x",
            "https://nexus.lan/x",
            "http://NEXUS.lan./x",
            "https://[fd00::1]/x",
        ):
            self.assertTrue(hosts.serves(url), url)
        for url in (
            "http://nexus.lan:6379/",
            "http://other.lan:8081/",
            "https://[fd00::2]/",
            "ftp://nexus.lan/",
            "x.whl",
        ):
            self.assertFalse(hosts.serves(url), url)

    def test_listed_hosts(self) -> None:
        """An entry is a host with every port, a host with one port, or a glob; `*` is all hosts."""
        hosts = FileHosts.of(
            ("https://index.example/simple/",),
            ("Files.lan", "minio.lan:9000", "*.s3.example", "[::1]:80"),
        )
        for url in (
            "http://files.lan:1234/",
            "http://minio.lan:9000/x",
            "https://a.s3.example/x",
            "http://[::1]/x",
        ):
            self.assertTrue(hosts.serves(url), url)
        for url in (
            "http://minio.lan:9001/x",
            "https://s3.example/x",
            "http://[::1]:81/x",
            "http://files.lan.evil/x",
        ):
            self.assertFalse(hosts.serves(url), url)
        self.assertTrue(FileHosts.of((), ("*",)).serves("http://127.0.0.1:6379/"))

    def test_default(self) -> None:
        """The file host of the public index is listed without a configuration."""
        self.assertTrue(
            FileHosts.of((), Config().upstream.file_hosts).holds("files.pythonhosted.org", 443)
        )
