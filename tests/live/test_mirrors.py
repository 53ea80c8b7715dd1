"""A full bandersnatch mirror of a pypid, and of what changed since."""

from pathlib import Path

from tests.live.clients import client
from tests.live.daemon import IndexTestCase, LiveIndex, Settings, for_each, pypid
from tests.live.isolation import works
from tests.live.projects import manage, publish, sdist, wheel

CONFIGURATION = """
[mirror]
directory = {folder}
master = http://127.0.0.1:{port}
allow-non-https = true
api-method = simple
json = true
timeout = 10
global-timeout = 60
workers = 2
hash-index = false
simple-format = ALL
stop-on-error = true
compare-method = hash
verifiers = 1
"""


class MirrorTests(IndexTestCase):
    def start(self) -> LiveIndex:
        place = self.folder / "pypid"
        place.mkdir()
        return self.entered(pypid(place, Settings()))

    def mirror(self, executable: str) -> Path:
        """Run bandersnatch; the folder that it serves."""
        folder = self.folder / "mirror"
        path = self.folder / "bandersnatch.conf"
        path.write_text(CONFIGURATION.format(folder=folder, port=self.index.port))
        works([client(executable), "--config", path, "mirror"], self.folder)
        return folder / "web"

    def downloads(self, since: int) -> list[str]:
        """The paths of the files that were asked for, without the .metadata beside them (8 fetches
        those too).
        """
        paths = [
            answer.path
            for answer in self.index.answers(since)
            if answer.path.startswith("/packages/")
        ]
        return sorted(path for path in paths if not path.endswith(".metadata"))

    @for_each("bandersnatch", "bandersnatch-8")
    def mirrors(self, executable: str) -> None:
        """This bandersnatch mirrors all, files below /packages/; a second run fetches what is new
        (C112).
        """
        first, source = wheel("Mirrored.One", requires_python=">=3.8"), sdist("mirrored-two")
        publish(self.index, first, source)
        manage(self.index, "PUT", "mirrored-one/releases/1.0/yank", reason="no good")
        web = self.mirror(executable)
        paths = [
            f"/packages/mirrored-one/{first.filename}",
            f"/packages/mirrored-two/{source.filename}",
        ]
        self.assertEqual(self.downloads(self.since), paths)
        for path, artifact in zip(paths, (first, source), strict=True):
            self.assertEqual((web / path[1:]).read_bytes(), artifact.data)
        page = (web / "simple/mirrored-one/index.html").read_text()
        self.assertIn(first.filename, page)
        self.assertIn("no good", page)

        since = self.index.log_size()
        self.mirror(executable)
        self.assertEqual(self.downloads(since), [])

        second = wheel("mirrored-one", "2.0")
        publish(self.index, second)
        since = self.index.log_size()
        self.mirror(executable)
        self.assertEqual(self.downloads(since), [f"/packages/mirrored-one/{second.filename}"])
        self.assertNotIn("/pypi/mirrored-two/json", self.index.log(since))
        self.assertIn(second.filename, (web / "simple/mirrored-one/index.html").read_text())
