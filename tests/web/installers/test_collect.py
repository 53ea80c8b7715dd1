"""POST /requirements.txt: what is kept, what is told, who may, and how the answer is written."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from hashlib import sha256
from typing import Any

from attrs import define, evolve, field
from packaging.requirements import Requirement
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone

from pypid.core.configuration.choices import Mode
from pypid.core.cooldown import Cooldown
from pypid.core.errors import Unresolvable, UpstreamDown
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.packaging.requirements import InstallTarget
from pypid.core.permissions import AUTHENTICATED, EVERYONE, NOBODY, Identity
from pypid.core.policy import Policy
from pypid.resolver.uv import Uv
from pypid.web.app.app import App
from pypid.web.installers.collect import READING
from tests.distributions import wheel
from tests.web.full_app import PRIVATE, RULES, Answer, Pypid, WholeCase, spelled, text
from tests.web.memory_upstream import Elsewhere

PURE = "{}-{}-py3-none-any.whl"


@define
class Scripted:
    """A resolver that takes the newest release of what is `needed`, of the project itself and of no
    other.
    """

    needed: dict[str, list[tuple[str, str]]] = field(factory=dict)
    asked: list[tuple[tuple[str, ...], str, bool]] = field(factory=list)
    people: list[Identity] = field(factory=list)
    slow: bool = False
    """Whether it waits for the test (`go_on`) before it answers."""
    waiting: list[Deferred[None]] = field(factory=list)

    @asynccontextmanager
    async def __call__(self, app: App, who: Identity) -> AsyncIterator[Uv]:
        self.people.append(who)
        try:
            yield self
        finally:
            self.people.append(who)

    async def resolve(
        self, requirements: Sequence[str], target: InstallTarget, *, prereleases: bool
    ) -> Sequence[tuple[ProjectName, str]]:
        self.asked.append((tuple(requirements), str(target), prereleases))
        if self.slow:
            self.waiting.append(Deferred())
            await self.waiting[-1]
        found: dict[str, str] = {}
        for line in requirements:
            name = Requirement(line).name
            if name not in self.needed:
                raise Unresolvable(f"there is no solution for {line}")
            found.update(self.needed[name])
        return [(project_name(name), version) for name, version in found.items()]

    def go_on(self) -> None:
        """Answer, now and from now on."""
        self.slow = False
        for each in self.waiting:
            if not each.called:
                each.callback(None)


class CollectCase(WholeCase):
    """A pypid with another index behind it."""

    mode = Mode.CACHE

    def setUp(self) -> None:
        super().setUp()
        self.elsewhere = Elsewhere()
        self.resolver = Scripted()
        self.pypid = self.made(Policy(mode=self.mode))

    def made(self, policy: Policy, **options: Any) -> Pypid:
        pypid = Pypid(self.spool, policy=policy, upstream=self.elsewhere, **options)
        pypid.app.rules = evolve(RULES, collect=EVERYONE)
        self.have(pypid.index.maintenance.reconcile())
        pypid.app.resolvers = self.resolver
        return pypid

    def has(self, name: str, version: str = "1.0", tag: str = "py3-none-any") -> None:
        """The other index has this wheel, and the resolver knows it."""
        self.elsewhere.has(name, f"{name}-{version}-{tag}.whl", wheel(name, version, tag=tag))
        self.resolver.needed[name] = [(name, version)]

    def collect(
        self,
        requirements: str = "",
        *headers: tuple[str, str],
        user: str | None = None,
        **fields: object,
    ) -> Any:
        answer = self.posted({"requirements": requirements, **fields}, *headers, user=user)
        self.assertEqual(answer.status, 200, answer)
        return answer.json

    def posted(
        self, document: object, *headers: tuple[str, str], user: str | None = None
    ) -> Answer:
        kind = ("Content-Type", "application/json")
        return self.pypid.ask(
            "POST",
            "/requirements.txt",
            kind,
            *headers,
            body=json.dumps(document).encode(),
            user=user,
        )


class CollectTests(CollectCase):
    def test_kept(self) -> None:
        """What the resolver names is fetched, kept, and told; the second time it was had, and
        nothing is fetched.
        """
        self.has("app")
        self.has("lib", tag="cp312-cp312-manylinux_2_17_x86_64")
        self.resolver.needed["app"] += self.resolver.needed["lib"]
        for outcome in "kept", "had":
            answer = self.collect("app>=1", python="3.12")
            names = [PURE.format("app", "1.0"), "lib-1.0-cp312-cp312-manylinux_2_17_x86_64.whl"]
            self.assertEqual(answer["cached"], names)
            self.assertEqual(
                [(file["filename"], file["outcome"]) for file in answer["files"]],
                [(n, outcome) for n in names],
            )
            self.assertEqual(
                (answer["failed"], answer["unparseable"], answer["complete"]), ([], [], True)
            )
            releases = ["app==1.0", "lib==1.0"]
            self.assertEqual(
                answer["targets"], [{"platform": "linux", "python": "3.12", "releases": releases}]
            )
        self.assertEqual(len(self.elsewhere.urls), 2)
        self.elsewhere.away = UpstreamDown("gone")
        for name, filename in zip(("app", "lib"), names, strict=True):
            self.assertEqual(self.pypid.get(f"/packages/{name}/{filename}").status, 200)

    def test_failed(self) -> None:
        """Lines that cannot be had are told with the reason, each once, and all others are
        collected.
        """
        self.pypid = self.made(Policy(mode=self.mode, deny=("evil",), reserved=("inner-*",)))
        self.has("good")
        self.has("lost")
        self.resolver.needed["good"] += [("lost", "2.0")]
        del self.resolver.needed["lost"]
        lines = [
            "nobody",
            "evil",
            "inner-part",
            "lost>1",
            "good",
            "-r other.txt",
            "--no-binary :all:",
        ]
        answer = self.collect("\n".join(lines), python=["3.12", "3.13"])
        self.assertEqual(answer["unparseable"], ["-r other.txt"])
        self.assertEqual(answer["failed"], ["nobody", "evil", "inner-part", "lost>1", "lost==2.0"])
        self.assertEqual(answer["cached"], [PURE.format("good", "1.0")])
        self.assertFalse(answer["complete"])
        reasons = {
            problem["line"]: (problem["reason"], len(problem["targets"]))
            for problem in answer["problems"]
        }
        self.assertEqual(reasons["lost==2.0"], ("this index does not have this release", 2))
        self.assertEqual(reasons["lost>1"], ("there is no solution for lost>1", 2))
        for name, word in (
            ("evil", "[upstream] deny"),
            ("inner-part", "[upstream] reserved"),
            ("nobody", "no project 'nobody'"),
        ):
            self.assertIn(word, reasons[name][0])
            self.assertEqual(reasons[name][1], 0)
        self.assertNotIn("evil", self.elsewhere.heard)
        self.assertNotIn("inner-part", self.elsewhere.heard)
        self.assertEqual([line["line"] for line in answer["ignored"]], ["--no-binary :all:"])

    def test_ours(self) -> None:
        """A file of ours is had, and its name is told to nobody."""
        filename, _ = self.have_wheel("mine")
        self.resolver.needed["mine"] = [("mine", "1.0")]
        answer = self.collect("mine")
        self.assertEqual(
            [(file["filename"], file["outcome"]) for file in answer["files"]], [(filename, "had")]
        )
        self.assertEqual(self.elsewhere.heard, [])

    def test_rules(self) -> None:
        """A release that a rule hides is refused with the rule, for a line and for a lock; it is
        not fetched.
        """
        self.pypid = self.made(Policy(mode=self.mode, cooldown=Cooldown(timedelta(days=7))))
        self.has("young")
        del self.resolver.needed["young"]
        lock = pylock("young", PURE.format("young", "1.0"), wheel("young", "1.0"))
        answer = self.collect("young==1.0", **{"pylock.toml": lock})
        self.assertEqual(answer["cached"], [])
        [file] = answer["files"]
        self.assertEqual((file["outcome"], "cooldown" in file["reason"]), ("refused", True))
        self.assertEqual(
            [("cooldown" in problem["reason"]) for problem in answer["problems"]], [True]
        )
        self.assertEqual(self.elsewhere.urls, [])

    def test_hashes(self) -> None:
        """A file without one of the hashes that the line or the lock gives is not taken."""
        self.has("app")
        right = sha256(wheel("app", "1.0")).hexdigest()
        self.assertEqual(
            self.collect(f"app==1.0 --hash=sha256:{right} --hash=sha256:{'0' * 64}")["failed"], []
        )
        wrong = f"app==1.0 --hash=sha256:{'0' * 64}"
        answer = self.collect(wrong)
        self.assertEqual((answer["failed"], answer["cached"]), ([wrong], []))
        answer = self.collect(
            **{"pylock.toml": pylock("app", PURE.format("app", "1.0"), b"other bytes")}
        )
        self.assertEqual([file["outcome"] for file in answer["files"]], ["refused"])
        self.assertIn("the lock says sha256=", answer["problems"][0]["reason"])


class LockTests(CollectCase):
    def test_without_resolver(self) -> None:
        """A lock needs no resolver: its releases are looked up, its files are kept, those of other
        targets are not.
        """
        self.pypid.app.resolvers = None
        self.has("app")
        answer = self.collect(
            **{"pylock.toml": pylock("app", PURE.format("app", "1.0"), wheel("app", "1.0"))}
        )
        self.assertEqual(
            (answer["cached"], answer["complete"]), ([PURE.format("app", "1.0")], True)
        )
        self.assertEqual(self.resolver.people, [])


class OfflineTests(CollectCase):
    mode = Mode.OFFLINE

    def test_stored(self) -> None:
        """Offline nobody is asked: what is kept is had, what is not is told."""
        self.pypid = self.made(Policy(mode=Mode.CACHE))
        self.has("app")
        self.collect("app")
        heard = list(self.elsewhere.heard)
        context = self.pypid.index.context
        offline = evolve(context.policy, mode=Mode.OFFLINE)
        self.pypid.index.context = evolve(context, policy=offline)
        self.pypid = self.made(Policy(mode=Mode.OFFLINE), blobs=self.pypid.blobs)
        answer = self.collect("app\nother")
        self.assertEqual(
            ([file["outcome"] for file in answer["files"]], answer["failed"]), (["had"], ["other"])
        )
        self.assertEqual(self.elsewhere.heard, heard)


class RequestTests(CollectCase):
    def test_forms(self) -> None:
        """A multipart form, an urlencoded one and JSON say the same; a text may
        come several times.
        """
        self.has("app")
        self.has("lib")
        parts = [
            text("requirements", "app\n"),
            text("requirements", "lib\n"),
            text("python", "3.12"),
        ]
        both = [PURE.format("app", "1.0"), PURE.format("lib", "1.0")]
        self.assertEqual(
            self.send_form(parts, target="/requirements.txt", user=None).json["cached"], both
        )
        upload = [
            (
                'name="requirements"; filename="requirements.txt"\r\nContent-Type: text/plain',
                "app\nlib\n",
            )
        ]
        self.assertEqual(
            self.send_form(upload, target="/requirements.txt", user=None).json["cached"], both
        )
        kind = ("Content-Type", "application/x-www-form-urlencoded")
        answer = self.pypid.ask(
            "POST", "/requirements.txt", kind, body=b"requirements=app%0Alib&platform=macos"
        )
        self.assertEqual(
            (answer.json["cached"], answer.json["targets"][0]["platform"]), (both, "macos")
        )
        self.assertEqual(self.posted({"requirements": ["app", "lib"]}).json["cached"], both)

    def test_refused(self) -> None:
        """What is not understood is 400 with the reason, what is too much 413 or 400, and other
        methods are 405.
        """
        for document, words in (
            ({"requirements": 3}, "JSON"),
            ({"requirements": ["app"] * 150, "pylock.toml": ["x = 1"] * 51}, "At most 200 files"),
            ({"requirement": "app"}, "requirement"),
            ({"requirements": "app", "platform": "beos"}, "'beos' is not a platform"),
            ({"requirements": "app", "python": "2.7"}, "'2.7' is not a Python"),
            ({"pylock.toml": "="}, "not TOML"),
        ):
            self.refused(self.posted(document), 400, words)
        self.refused(
            self.send_form([('name="content"; filename="x"', b"x")], target="/requirements.txt"),
            400,
            "pylock.toml",
        )
        connection = self.pypid.connect()
        huge = (("Content-Type", "application/json"), ("Content-Length", str(1 << 30)))
        connection.send(spelled("POST", "/requirements.txt", *huge))
        answer = connection.answer()
        assert answer is not None
        self.assertEqual(answer.status, 413)
        self.assertEqual(self.pypid.get("/requirements.txt").status, 405)

    def test_rights(self) -> None:
        """Who may not make pypid fetch, or not read, collects nothing; the resolver sees the index
        as the person does.
        """
        self.has("app")
        body = {"requirements": "app"}
        self.pypid.app.rules = RULES
        self.assertEqual(
            [self.posted(body, user=user).status for user in (None, "bob", "ada")], [401, 200, 200]
        )
        self.pypid.app.rules = evolve(RULES, collect=NOBODY)
        self.assertEqual(
            [self.posted(body, user=user).status for user in (None, "bob", "ada")], [401, 403, 200]
        )
        self.resolver.people.clear()
        self.pypid.app.rules = evolve(RULES, fetch=AUTHENTICATED)
        self.assertEqual(
            [self.posted(body, user=user).status for user in (None, "bob")], [401, 200]
        )
        self.assertEqual([who.user for who in self.resolver.people], ["bob", "bob"])
        self.pypid.app.rules = evolve(RULES, fetch=NOBODY)
        self.assertEqual(
            [self.posted(body, user=user).status for user in (None, "bob", "ada")], [401, 403, 200]
        )
        self.pypid.app.rules = PRIVATE
        self.assertEqual(
            [self.posted(body, user=user).status for user in (None, "bob")], [401, 200]
        )
        self.refused(self.posted(body, ("Origin", "https://evil.example"), user="bob"), 403)

    def test_busy(self) -> None:
        """Two at a time are collected for; the third is told to come again, and has his turn when
        one is done.
        """
        self.has("app")
        self.resolver.slow = True
        waiting = [self.pypid.connect() for _ in range(2)]
        body = json.dumps({"requirements": "app"}).encode()
        for connection in waiting:
            connection.send(
                spelled(
                    "POST", "/requirements.txt", ("Content-Type", "application/json"), body=body
                )
            )
        answer = self.posted({"requirements": "app"})
        self.assertEqual((answer.status, answer["retry-after"]), (503, "30"))
        waiting[0].lose(ConnectionDone())
        self.assertEqual(self.pypid.app.collections.tokens, 1)
        self.resolver.go_on()
        for connection in waiting[1:]:
            done = connection.answer()
            assert done is not None
            self.assertEqual(done.status, 200)
        self.assertEqual(self.collect("app")["complete"], True)
        self.assertEqual(self.pypid.app.collections.tokens, 2)

    def test_clients_that_send_slowly_keep_no_others_waiting(self) -> None:
        """A collection begins when its body is there; one that does not come in time is 408."""
        self.has("app")
        slow = [self.pypid.connect() for _ in range(5)]
        head = spelled(
            "POST",
            "/requirements.txt",
            ("Content-Type", "application/json"),
            ("Content-Length", "100000"),
        )
        for connection in slow:
            connection.send(head + b'{"requirements": "app')
        self.assertEqual(self.collect("app")["complete"], True)
        for _ in range(int(READING)):
            for connection in slow:
                connection.send(b" " * 1000)
            self.pypid.clock.advance(1)
        for connection in slow:
            answer = connection.answer()
            assert answer is not None
            self.assertEqual(answer.status, 408)
        self.assertEqual(self.pypid.app.collection_bodies.taken, 0)

    def test_bodies_that_are_read_at_once_are_bounded(self) -> None:
        """Beyond it the answer is 503, and what others have sent is no longer counted
        when they go.
        """
        self.pypid.app.collection_bodies.most = 100_000
        slow = self.pypid.connect()
        head = spelled(
            "POST",
            "/requirements.txt",
            ("Content-Type", "application/json"),
            ("Content-Length", "200000"),
        )
        slow.send(head + b'{"requirements": "' + b" " * 90_000)
        body = {"requirements": "app" + " " * 20_000}
        self.assertEqual(self.posted(body).status, 503)
        slow.lose(ConnectionDone())
        self.has("app")
        self.assertEqual(self.posted(body).status, 200)
        self.assertEqual(self.pypid.app.collection_bodies.taken, 0)


class StreamTests(CollectCase):
    def stream(self, accept: str, requirements: str = "app") -> tuple[dict[str, str], list[str]]:
        """The head and the lines of an answer that came in chunks."""
        connection = self.pypid.connect()
        body = json.dumps({"requirements": requirements}).encode()
        fields = (("Content-Type", "application/json"), ("Accept", accept))
        connection.send(spelled("POST", "/requirements.txt", *fields, body=body))
        return self.taken(connection.rest())

    def taken(self, raw: bytes) -> tuple[dict[str, str], list[str]]:
        head, _, rest = raw.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
        data = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            data += rest[: int(size, 16)]
            rest = rest[int(size, 16) + 2 :]
        return fields, data.decode().split("\n")

    def test_lines(self) -> None:
        """Newline JSON: what is worked out, each file as it is done, and last the whole answer, the
        same as without.
        """
        self.has("app")
        self.has("lib")
        self.resolver.needed["app"] += [("lib", "1.0")]
        head, lines = self.stream("application/x-ndjson")
        self.assertEqual(head["content-type"], "application/x-ndjson")
        self.assertEqual(head["x-accel-buffering"], "no")
        events = [json.loads(line) for line in lines if line]
        self.assertEqual(
            [event["event"] for event in events],
            ["resolving", "resolved", "file", "file", "result"],
        )
        self.assertEqual([(event["done"], event["of"]) for event in events[2:4]], [(1, 2), (2, 2)])
        self.assertEqual(events[1]["releases"], 2)
        del events[-1]["event"]
        again = self.collect("app")
        self.assertEqual(events[-1]["cached"], again["cached"])
        self.assertEqual(set(events[-1]), set(again))

    def test_client_goes(self) -> None:
        """When the client goes away the resolver is given up, and the place is free for others."""
        self.has("app")
        self.resolver.slow = True
        connection = self.pypid.connect()
        body = json.dumps({"requirements": "app"}).encode()
        connection.send(
            spelled("POST", "/requirements.txt", ("Content-Type", "application/json"), body=body)
        )
        self.assertEqual(len(self.resolver.people), 1)
        connection.lose(ConnectionDone())
        self.assertEqual((len(self.resolver.people), self.pypid.app.collections.tokens), (2, 2))


def pylock(name: str, filename: str, data: bytes) -> str:
    return (
        f'lock-version = "1.0"\ncreated-by = "test"\n[[packages]]\nname = "{name}"\nversion = '
        f'"1.0"\n'
        f'wheels = [{{name = "{filename}", url = "https://x.example/{filename}", '
        f'hashes = {{sha256 = "{sha256(data).hexdigest()}"}}}}]\n'
        '[[packages]]\nname = "other"\nversion = "1.0"\nmarker = "sys_platform == \'beos\'"\n'
        f'wheels = [{{name = "other-1.0-py3-none-any.whl", url = "https://x.example/o", hashes = '
        f'{{sha256 = "00"}}}}]\n'
    )
