"""What leaves a real pypid towards upstream while real clients install, publish and look: never a
private name.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

import http.client
import json
import urllib.parse
from pathlib import Path
from typing import Any

from tests.live.clients import client
from tests.live.daemon import BIN, PASSWORDS, LiveIndex, Settings, configuration, stop, until_ready
from tests.live.isolation import fails, pip, uv, works
from tests.live.processes import clean_environ, free_port, running, scratch
from tests.live.projects import call, page, publish, sdist, wheel
from tests.live.test_install import NEWEST, installed
from tests.live.upstreams import FrontedCase, discreet
from tests.upstream.fake import J

RESERVED = "mode = cache\nreserved = Acme_* initech"


def asked(index: LiveIndex, method: str, target: str, *headers: tuple[str, str]) -> int:
    """The status of an answer; `target` goes out as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", index.port, timeout=30)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        with connection.getresponse() as answer:
            answer.read()
            return answer.status
    finally:
        connection.close()


class PrivateNamesTests(FrontedCase):
    """The fake has projects of our names, in higher versions."""

    def setUp(self) -> None:
        super().setUp()
        for name in ("acme-core", "acme-plans", "initech", "ours"):
            self.upstream_has(name, wheel(name, "99.0"), sdist(name, "99.0"))
        self.upstream_has("theirs", wheel("theirs", "3.0"))

    def heard(self) -> str:
        """All that upstream heard, in lower case."""
        return bytes(self.fake.heard).decode("latin-1").lower()

    def check_silence(self) -> None:
        """None of it is of us."""
        for word in ("acme", "initech", "ours", "%61cme"):
            self.assertNotIn(word, self.heard())
        agents = {ask.headers["user-agent"].partition("/")[0] for ask in self.fake.asked}
        self.assertEqual(agents - {"pypid"}, set())

    async def test_by_clients(self) -> None:
        """pip and uv install ours, which needs theirs; twine and uv publish new private names;
        mistyped and reserved names fail: upstream hears the one public name, and no other byte of
        ours (C36).
        """
        index = await self.index(RESERVED)
        needs = [("Requires-Dist", "ours"), ("Requires-Dist", "theirs>=2")]
        await self.run_(
            publish, index, wheel("ours", "1.0"), wheel("acme-core", "1.0", extra=needs)
        )
        for name, command in (
            ("pip", pip(NEWEST, "install", index.url())),
            ("uv", uv(index.url(), "--no-cache")),
        ):
            target = self.folder / name
            await self.run_(works, [*command, "--target", target, "Acme.Core"], self.folder)
            self.assertEqual(installed(target), {"acme_core-1.0", "ours-1.0", "theirs-3.0"})
            for wanted in (
                "acme-plans",
                "ACME__plans",
                "acme-core==99.0",
                "Initech",
                "ours>1",
                "acme-typo",
            ):
                await self.run_(
                    fails, [*command, "--target", self.folder / "none", wanted], self.folder
                )
        await self.run_(self.publishes, index)
        self.assertIn("/simple/theirs/", self.heard())
        self.check_silence()

    def publishes(self, index: LiveIndex) -> None:
        """New names, with tools that look first whether the file is there."""
        environ = {"TWINE_USERNAME": "alice", "TWINE_PASSWORD": PASSWORDS["alice"]}
        environ |= {"UV_PUBLISH_USERNAME": "alice", "UV_PUBLISH_PASSWORD": PASSWORDS["alice"]}
        one, other = (wheel(f"acme-new-{number}").into(self.folder / "dist") for number in range(2))
        works(
            [client("twine"), "upload", "--repository-url", index.url("/legacy/"), one],
            self.folder,
            **environ,
        )
        command = [
            client("uv"),
            "publish",
            "--publish-url",
            index.url("/legacy/"),
            "--check-url",
            index.url(),
            other,
        ]
        for _ in range(2):
            works(command, self.folder, **environ)

    async def test_collecting(self) -> None:
        """Nor does working out what requirements need: names of ours, reserved ones, and URLs, as
        they stand in a requirements file or in somebody's metadata, are not gone to.
        """
        index = await self.index(RESERVED)
        evil = f"http://127.0.0.1:{self.port}/files/acme-evil-1.0-py3-none-any.whl"
        needs = {
            "ours": ["acme-plans"],
            "ours-too": [f"acme-evil @ {evil}"],
            "ours-three": [f"acme-evil @ git+{evil}"],
            "ours-four": ["ours-five", "theirs"],
            "ours-five": [],
        }
        for name, wanted in needs.items():
            await self.run_(
                publish,
                index,
                wheel(name, "1.0", extra=[("Requires-Dist", each) for each in wanted]),
            )
        for lines in (
            *([name] for name in needs),
            ["acme-plans", "Initech>1"],
            [
                f"acme-evil @ {evil}",
                evil,
                f"-r {evil}",
                f"--index-url {evil}",
                f"--extra-index-url {evil}",
                f"-f {evil}",
            ],
            [
                f"acme-evil @ git+{evil}",
                f"git+{evil}#egg=acme-evil",
                f"-e {evil}",
                "-c /etc/passwd",
                "./acme-evil",
            ],
        ):
            fields = urllib.parse.urlencode({"requirements": "\n".join(lines)}).encode()
            kind = "application/x-www-form-urlencoded"
            answer = await self.run_(
                call, index, "POST", "/requirements.txt", fields, user="admin", content_type=kind
            )
            self.assertTrue(json.loads(answer))
        self.assertIn("/simple/theirs/", self.heard())
        self.check_silence()

    async def test_by_hand(self) -> None:
        """No address, method, spelling or part of a file lets one out, in any mode; nor after the
        project was deleted.
        """
        for mode in ("cache", "redirect", "mirror\nrefresh = 1s", "offline"):
            index = await self.index(f"mode = {mode}\nreserved = acme-* initech")
            await self.run_(publish, index, wheel("ours", "1.0"))
            await self.run_(
                self.asks_by_hand,
                index,
                "ours",
                "acme-core",
                "Acme__Core",
                "%41cme%2Ecore",
                "initech",
            )
            await self.run_(call, index, "DELETE", "/api/projects/ours", user="admin")
            await self.run_(self.asks_by_hand, index, "OURS", "%6furs")
        self.check_silence()

    def asks_by_hand(self, index: LiveIndex, *names: str) -> None:
        """Everything that somebody might try."""
        for name in names:
            file = (
                "ours-99.0-py2.py3-none-any.whl"
                if "urs" in name.lower()
                else "acme_core-99.0.tar.gz"
            )
            targets = [
                f"{place}{name}/"
                for place in ("/simple/", "/local/", "/+simple/", "/legacy/", "/legacy/+simple/")
            ]
            targets += [f"/packages/{name}/{file}{beside}" for beside in ("", ".metadata", "?x=1")]
            targets += [
                f"/packages/source/{name[0]}/{name}/{file}",
                f"/pypi/{name}/json",
                f"/pypi/{name}/99.0/json",
            ]
            targets += [
                f"/integrity/{name}/99.0/{file}/provenance",
                f"/api/projects/{name}",
                f"/api/why/{name}",
            ]
            targets += [
                f"/simple/{name}",
                f"/simple//{name}/",
                f"http://127.0.0.1:{self.port}/simple/{name}/",
            ]
            for target in targets:
                for method, *headers in (("GET", ("Range", "bytes=-9")), ("HEAD",), ("OPTIONS",)):
                    code = asked(index, method, target, *headers)
                    self.assertLess(code, 500, (method, target))

    async def test_first_second(self) -> None:
        """After a start with no catalog, with one from before the name was ours, and with a torn
        one, the very first answer that is given is ours, and nobody is asked.
        """
        folder = self.entered(scratch())
        storage = self.entered(scratch())
        alone = {"storage": storage, "access": "owners = none"}  # without accounts
        settings = self.settings("mode = cache\nttl = 1h", **alone)
        with discreet(folder, settings) as index:
            await self.run_(page, index, "theirs")
            await self.run_(stop, index)
        file = folder / "state/catalog.db"
        old = file.read_bytes()
        index = await self.index(**alone)  # another process
        await self.run_(publish, index, wheel("ours", "1.0"), wheel("theirs", "1.0"))
        del self.fake.heard[:]
        for torn in (
            lambda data: data,
            lambda data: data[: len(data) // 2],
            lambda data: b"",
            None,
        ):
            for path in file.parent.glob("catalog.db*"):
                path.unlink()
            if torn is not None:
                file.write_bytes(torn(old))
            for name, found in zip(
                ("theirs", "ours"),
                await self.run_(self.first_answers, folder, settings),
                strict=True,
            ):
                self.assertEqual(
                    [file["filename"] for file in found["files"]],
                    [f"{name}-1.0-py2.py3-none-any.whl"],
                )
        # the list of all projects may be asked for at any time
        for name in ("theirs", "ours"):
            self.assertNotIn(name, self.heard())

    def first_answers(self, folder: Path, settings: Settings) -> tuple[Any, Any]:
        """The pages that a pypid gives as soon as it listens."""
        port = free_port()
        (folder / "pypid.ini").write_text(configuration(folder, port, settings))
        command = [
            BIN / "twistd",
            "--nodaemon",
            "--pidfile=",
            "pypid",
            "--config",
            folder / "pypid.ini",
        ]
        with running(command, folder / "log", cwd=folder, environ=clean_environ()) as process:
            found = process.until_answers(f"http://127.0.0.1:{port}/simple/theirs/?format={J}")
            index = LiveIndex(folder, port, False, process)
            ours = page(index, "ours")
            until_ready(index)
            stop(index)
        return json.loads(found), ours
