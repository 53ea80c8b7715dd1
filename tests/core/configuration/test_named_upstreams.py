"""The settings of `[upstream:NAME]`, as far as no whole configuration is needed."""

from datetime import timedelta
from urllib.parse import unquote, urlsplit

from twisted.trial.unittest import SynchronousTestCase

from pypid.core.configuration.parse import settings_of
from tests.support.configuration import parse

TEXT = """\
[upstream]
url = https://alice:hunter2@index.example/simple
upstreams = cu128 public
cooldown = 3d
timeout = 5s
require_hashes = yes
ca_certificates = ca.pem
max_cache = 1G

[upstream:cu128]
url = https://gpu.example/whl/cu128
only = torch
"""


class SettingsTests(SynchronousTestCase):
    def test_inherited(self) -> None:
        """A key that is not set has the value of [upstream], but neither its URL nor its user."""
        config = parse(TEXT, filename="x.ini")
        found = settings_of(config.upstream, config.upstreams["cu128"])
        self.assertEqual(found.url, ("https://gpu.example/whl/cu128",))
        self.assertEqual(found.upstreams, ())
        self.assertEqual(found.cooldown, config.upstream.cooldown)
        self.assertEqual(found.timeout, timedelta(seconds=5))
        self.assertEqual(found.file_hosts, ("files.pythonhosted.org",))
        self.assertTrue(found.require_hashes)
        self.assertEqual(found.ca_certificates, "ca.pem")

    def test_own(self) -> None:
        """What the section sets counts, also where it is less strict."""
        own = "cooldown = 0\nrequire_hashes = no\nttl = 0\nfile_hosts = cdn.example\ntimeout = 1s\n"
        config = parse(TEXT + own, filename="x.ini")
        found = settings_of(config.upstream, config.upstreams["cu128"])
        self.assertEqual(found.cooldown.wait, timedelta())
        self.assertFalse(found.require_hashes)
        self.assertEqual((found.ttl, found.timeout), (timedelta(), timedelta(seconds=1)))
        self.assertEqual(found.file_hosts, ("cdn.example",))

    def test_credentials(self) -> None:
        """Credentials of any characters become the user of each URL; no repr shows them."""
        text = TEXT.replace("gpu.example/whl/cu128", "gpu.example/a https://gpu.example/b")
        config = parse(f"{text}credentials = bob@corp:p/w:x%#\n", filename="x.ini")
        found = settings_of(config.upstream, config.upstreams["cu128"])
        for url, path in zip(found.url, ("/a", "/b"), strict=True):
            split = urlsplit(url)
            self.assertEqual((split.hostname, split.path), ("gpu.example", path))
            self.assertEqual(unquote(split.username or ""), "bob@corp")
            self.assertEqual(unquote(split.password or ""), "p/w:x%#")
        self.assertNotIn("p/w", repr(found) + repr(config))
