"""``/api/projects/<project>/files/<file>/contents``: what is inside files, as they are served."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pypid.core.configuration.choices import Mode
from pypid.core.model import Status
from pypid.core.packaging.names import project_name
from pypid.core.permissions import Principals, Rules
from pypid.core.policy import Policy
from tests.distributions import compressed, sdist, sdist_filename, tarred, wheel, wheel_filename
from tests.support.worlds import contents
from tests.web.full_app import Answer, Pypid, WholeCase
from tests.web.memory_upstream import Elsewhere

CACHE = Policy(mode=Mode.CACHE)
XSS = "<script>alert(1)</script>"


class ContentsCase(WholeCase):
    """Somebody who looks into files."""

    def look(
        self,
        filename: str,
        project: str = "spam",
        query: str = "",
        user: str | None = None,
        pypid: Pypid | None = None,
    ) -> Answer:
        return (pypid or self.pypid).api(
            "GET", f"/api/projects/{project}/files/{filename}/contents{query}", user=user
        )

    def listed(self, filename: str, project: str = "spam", **options: Any) -> list[str]:
        answer = self.look(filename, project, **options)
        self.assertEqual(answer.status, 200, answer)
        return [member["path"] for member in answer.json["members"]]

    def opened(
        self, filename: str, path: str, project: str = "spam", **options: Any
    ) -> dict[str, Any]:
        answer = self.look(filename, project, f"?path={quote(path, safe='')}", **options)
        self.assertEqual((answer.status, answer["content-type"]), (200, "application/json"), answer)
        self.assertEqual(
            (answer["x-content-type-options"], answer["cache-control"]), ("nosniff", "no-store")
        )
        found: dict[str, Any] = answer.json
        return found


class OursTests(ContentsCase):
    """Files of ours."""

    def test_each_kind(self) -> None:
        """Wheels, eggs and sdists are listed, and their members opened; nothing is left in the
        spool.
        """
        files = {"spam/__init__.py": "eggs = 'ä'\n".encode()}
        for filename, data, path in (
            (wheel_filename(), wheel(files=files), "spam/__init__.py"),
            (sdist_filename(), sdist(files=files), "spam-1.0/spam/__init__.py"),
            (
                sdist_filename(version="1.1", suffix=".zip"),
                sdist(version="1.1", suffix=".zip", files=files),
                "spam-1.1/spam/__init__.py",
            ),
            (
                sdist_filename(version="1.2", suffix=".tar.bz2"),
                sdist(version="1.2", suffix=".tar.bz2", files=files),
                "spam-1.2/spam/__init__.py",
            ),
        ):
            self.published(self.publish(filename, data))
            self.assertIn(path, self.listed(filename))
            for _ in range(2):
                found = self.opened(filename, path)
                self.assertEqual(
                    (found["text"], found["binary"], found["cut"]), ("eggs = 'ä'\n", False, False)
                )
                self.assertEqual(
                    (found["encoding"], found["size"], found["filename"]), ("utf-8", 12, filename)
                )
        self.assertEqual(
            [path.name for path in self.spool.iterdir() if path.name.startswith("incoming-")], []
        )

    def test_quarantined(self) -> None:
        """What is hidden from pages is hidden here, also after it was looked at."""
        filename, _ = self.have_wheel()
        self.opened(filename, "spam.py")
        self.have(self.pypid.index.manager.set_status(project_name("spam"), Status.QUARANTINED, ""))
        self.assertEqual(self.look(filename).status, 404)
        self.assertEqual(self.look(filename, query="?path=spam.py").status, 404)


class TheirsTests(ContentsCase):
    """Files of theirs."""

    def setUp(self) -> None:
        super().setUp()
        self.upstream = Elsewhere()
        self.wheel, self.sdist = wheel_filename("ham"), sdist_filename("ham", "2.0")
        self.upstream.has(
            "ham",
            self.wheel,
            wheel(
                "ham",
                files={"ham.py": b"x = 1\n", "large.bin": bytes(range(256)) * 2000},
                compression=0,
            ),
        )
        self.upstream.has("ham", self.sdist, sdist("ham", "2.0"))

    def in_front(self, policy: Policy = CACHE, rules: Rules | None = None) -> Pypid:
        return Pypid(
            Path(self.mktemp()), policy=policy, upstream=self.upstream, rules=rules or self.rules
        )

    def stored(self, pypid: Pypid) -> list[str]:
        return [key for key in self.have(contents(pypid.blobs)) if key.endswith((".whl", ".gz"))]

    def test_wheel(self) -> None:
        """Of upstream's wheel the parts that are looked at are fetched, and it is not kept."""
        pypid = self.in_front()
        self.assertIn("ham.py", self.listed(self.wheel, "ham", pypid=pypid))
        self.assertEqual(self.opened(self.wheel, "ham.py", "ham", pypid=pypid)["text"], "x = 1\n")
        self.assertEqual(self.stored(pypid), [])

    def test_sdist(self) -> None:
        """Upstream's sdist has to be fetched as a whole, and is kept as if it
        had been downloaded.
        """
        pypid = self.in_front()
        self.assertIn("ham-2.0/PKG-INFO", self.listed(self.sdist, "ham", pypid=pypid))
        self.assertEqual(len(self.stored(pypid)), 1)
        self.assertIn(
            "Name: ham", self.opened(self.sdist, "ham-2.0/PKG-INFO", "ham", pypid=pypid)["text"]
        )

    def test_may_not_fetch(self) -> None:
        """Who may not make us ask upstream is refused as for the file itself, also when somebody
        else has looked.
        """
        rules = Rules(fetch=Principals(users=frozenset({"alice"})))
        pypid = self.in_front(rules=rules)
        self.listed(self.wheel, "ham", pypid=pypid, user="alice")
        for user in (None, "bob"):
            file = pypid.get(f"/packages/ham/{self.wheel}", user=user)
            self.assertEqual(
                self.look(self.wheel, "ham", user=user, pypid=pypid).status, file.status
            )
        self.assertEqual(pypid.get(f"/packages/ham/{self.wheel}", user="alice").status, 200)
        self.assertIn("ham.py", self.listed(self.wheel, "ham", pypid=pypid, user="bob"))

    def test_hostile(self) -> None:
        """Upstream's archives may be anything: each is listed, or cannot be looked into, which is
        said kindly (422).
        """
        good = wheel("ham", "3.0")
        locked = bytearray(good)
        locked[good.find(b"PK\x01\x02") + 8] |= 1
        bomb = tarfile.TarInfo("ham-3.0/zeros")
        bomb.size = 600 << 20

        class Zeros(io.RawIOBase):
            def read(self, size: int = -1) -> bytes:
                return b"\0" * size

        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
            archive.addfile(bomb, Zeros())  # type: ignore[arg-type]
        for number, (suffix, data, status) in enumerate(
            (
                ("-py3-none-any.whl", b"", 422),
                ("-py3-none-any.whl", b"no archive", 422),
                ("-py3-none-any.whl", good[:-30], 422),
                ("-py3-none-any.whl", b"junk" + good, 422),
                (".tar.gz", b"", 422),
                (".tar.gz", compressed(b"\0" * 1024, ".tar.gz"), 422),
                (".tar.gz", sdist("ham")[:-40], 422),
                (".tar.bz2", sdist("ham"), 422),
                (".tar.gz", file.getvalue(), 422),
                (".zip", bytes(locked), 200),
            )
        ):
            filename = f"ham-{number}.0{suffix}"
            upstream = Elsewhere()
            upstream.has("ham", filename, data)
            pypid = Pypid(Path(self.mktemp()), policy=CACHE, upstream=upstream)
            answer = self.look(filename, "ham", pypid=pypid)
            self.assertEqual(answer.status, status, (filename, answer))
            if status == 422:
                self.assertIn("cannot be inspected", answer.text)
            else:
                self.assertEqual(
                    self.look(filename, "ham", "?path=ham.py", pypid=pypid).status, 422
                )


class HostileNamesTests(ContentsCase):
    """Names inside archives are whatever somebody wrote there."""

    def test_names(self) -> None:
        """Each can be printed, in JSON and in an address, and leads to its own member and nowhere
        else.
        """
        names = [
            XSS,
            "\u202egnp.exe",
            "../../../etc/passwd",
            "a\nb",
            "x" * 900,
            "spam?#&%2f",
            "\x1b[2J",
            "C:\\x",
            "ÿ ä",
        ]
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for number, name in enumerate(names):
                archive.writestr(name, f"{number} {XSS}")
        entries = []
        for number, name in enumerate(names):
            entry = tarfile.TarInfo(f"ham-1.0/{name}")
            entry.size = len(str(number))
            entries.append((entry, str(number).encode()))
        upstream = Elsewhere()
        for filename, data in (
            (wheel_filename("ham"), file.getvalue()),
            (sdist_filename("ham"), tarred(entries)),
        ):
            upstream.has("ham", filename, data)
        pypid = Pypid(Path(self.mktemp()), policy=CACHE, upstream=upstream)
        for filename in (wheel_filename("ham"), sdist_filename("ham")):
            paths = self.listed(filename, "ham", pypid=pypid)
            self.assertEqual(len(set(paths)), len(names))
            for number, path in enumerate(paths):
                self.assertTrue(path.isprintable())
                found = self.opened(filename, path, "ham", pypid=pypid)
                self.assertEqual(found["text"].split(" ")[0], str(number))
