"""Lock files: which releases and files a target needs of them."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import BadRequest
from pypid.core.packaging.install_targets import target
from pypid.core.packaging.lock_files import (
    LONGEST_KEY,
    MOST_OF_ONE,
    Lock,
    Pin,
    parse_pylock,
    parse_uv_lock,
)
from pypid.core.packaging.requirements import ELSEWHERE, Remark

LINUX, WINDOWS = target("linux", "3.12"), target("windows", "3.12")
SHA = "ab" * 32

PYLOCK = f"""
lock-version = "1.0"
created-by = "test"
extras = ["fast"]
dependency-groups = ["dev"]

[[packages]]
name = "spam"
version = "1.0"
wheels = [{{url = "https://x.example/a%2B/spam-1.0-py3-none-any.whl", hashes = {{sha256 = "{SHA}"}}}}]
sdist = {{name = "spam-1.0.tar.gz", url = "https://x.example/1", hashes = {{md5 = "00"}}}}

[[packages]]
name = "win"
version = "2.0"
marker = "sys_platform == 'win32'"
wheels = [{{name = "win-2.0-py3-none-any.whl", url = "https://x.example/2", hashes = {{sha256 = "{SHA}"}}}}]

[[packages]]
name = "dev"
version = "3.0"
marker = "'dev' in dependency_groups or 'fast' in extras"
sdist = {{name = "dev-3.0.tar.gz", url = "https://x.example/3", hashes = {{sha256 = "{SHA}"}}}}

[[packages]]
name = "never"
version = "3.0"
marker = "'other' in dependency_groups"
sdist = {{name = "never-3.0.tar.gz", url = "https://x.example/3", hashes = {{sha256 = "{SHA}"}}}}

[[packages]]
name = "near"
directory = {{path = "."}}
"""

UV_LOCK = f"""
version = 1
revision = 3
requires-python = ">=3.11"
resolution-markers = ["sys_platform == 'win32'", "sys_platform != 'win32'"]

[[package]]
name = "mine"
version = "0.1"
source = {{ virtual = "." }}
dependencies = [
    {{ name = "spam", extra = ["fast"] }},
    {{ name = "win", marker = "sys_platform == 'win32'" }},
    {{ name = "forked", version = "1.0", source = {{ registry = "https://x.example" }}, marker = "sys_platform == 'win32'" }},
    {{ name = "forked", version = "2.0", source = {{ registry = "https://x.example" }}, marker = "sys_platform != 'win32'" }},
]
[package.optional-dependencies]
gui = [{{ name = "ham" }}]
[package.dev-dependencies]
dev = [{{ name = "test" }}]

[[package]]
name = "spam"
version = "1.0"
source = {{ registry = "https://x.example/simple" }}
dependencies = [{{ name = "ham" }}]
wheels = [{{ url = "https://x.example/spam-1.0-py3-none-any.whl", hash = "sha256:{SHA}", size = 3 }}]
sdist = {{ url = "https://x.example/spam-1.0.tar.gz", hash = "sha256:{SHA}" }}
[package.optional-dependencies]
fast = [{{ name = "speed" }}]
slow = [{{ name = "unwanted" }}]
"""


def locked(name: str, version: str = "1.0", markers: str = "") -> str:
    return f"""
[[package]]
name = "{name}"
version = "{version}"
source = {{ registry = "https://x.example/simple" }}
{markers}
dependencies = [{{ name = "spam" }}]
wheels = [{{ filename = "{name}-{version}-py3-none-any.whl", hash = "sha256:{SHA}" }}]
"""


WHOLE = UV_LOCK + "".join(map(locked, ("win", "ham", "test", "speed", "unwanted")))
WHOLE += locked("forked", "1.0", "resolution-markers = [\"sys_platform == 'win32'\"]")
WHOLE += locked("forked", "2.0", "resolution-markers = [\"sys_platform != 'win32'\"]")
WHOLE += (
    '\n[[package]]\nname = "near"\nversion = "1"\nsource = { git = "https://x.example/near.git" }\n'
)


def names(lock: Lock, where: object = LINUX) -> set[str]:
    return {f"{pin.project}=={pin.version}" for pin in lock.pins_for(where)}  # type: ignore[arg-type]


class PylockTests(SynchronousTestCase):
    def test_pins(self) -> None:
        """What the markers let through, with all extras and groups; what lies elsewhere is told."""
        lock = parse_pylock(PYLOCK)
        self.assertEqual(names(lock), {"spam==1.0", "dev==3.0"})
        self.assertEqual(names(lock, WINDOWS), {"spam==1.0", "win==2.0", "dev==3.0"})
        self.assertEqual(lock.unparseable, (Remark("near", ELSEWHERE),))
        files = {"spam-1.0-py3-none-any.whl": f"sha256={SHA}", "spam-1.0.tar.gz": "md5=00"}
        self.assertIn(Pin(lock.pins_for(LINUX)[0].project, "1.0", files), lock.pins_for(LINUX))

    def test_refused(self) -> None:
        """What is no pylock.toml is refused in a line."""
        for text in (
            "",
            "]",
            "x = 1",
            PYLOCK.replace('"1.0"', '"2.0"', 1),
            PYLOCK.replace("name = ", "nam = "),
            "a = " + "[" * 5000,
        ):
            error = self.assertRaises(BadRequest, parse_pylock, text)
            self.assertLess(len(str(error)), 400)


class KeyTests(SynchronousTestCase):
    def test_key_of_many_parts_is_refused(self) -> None:
        """Wherever it stands: a parser takes memory in the square of the number of its parts."""
        parts = ["a", '"b c"', "'d'"] * LONGEST_KEY
        for parts_of_key in parts[: LONGEST_KEY + 1], ["a"] * 10_000:
            for key in ".".join(parts_of_key), " . ".join(parts_of_key):
                for text in (
                    f"{key} = 1",
                    f"[{key}]",
                    f"x = {{y = 1, {key} = 1}}",
                    f"x = '''\n{key}'''\n{key} = 1",
                ):
                    self.assertIn(
                        "parts", str(self.assertRaises(BadRequest, parse_pylock, text)), text[:99]
                    )

    def test_dots_in_strings_and_comments_are_no_key(self) -> None:
        """The tags of a wheel's name have many."""
        dotted = ".".join(["manylinux1_x86_64"] * 20)
        for string in (
            f'"{dotted}"',
            f"'{dotted}'",
            f'"""\n{dotted}\\"""D"{dotted}"""',
            f"'''\n{dotted}''{dotted}'''",
        ):
            text = PYLOCK.replace("[[packages]]", f"# {dotted}\n[[packages]]\ntool.x = {string}", 1)
            self.assertEqual(names(parse_pylock(text)), names(parse_pylock(PYLOCK)))


class UvLockTests(SynchronousTestCase):
    def test_pins(self) -> None:
        """What is reached from the project along the markers that hold, extras that are asked for
        and all its own groups.
        """
        lock = parse_uv_lock(WHOLE)
        common = {"spam==1.0", "ham==1.0", "test==1.0", "speed==1.0"}
        self.assertEqual(names(lock), common | {"forked==2.0"})
        self.assertEqual(names(lock, WINDOWS), common | {"win==1.0", "forked==1.0"})
        self.assertEqual(lock.unparseable, (Remark("near", ELSEWHERE),))
        [spam] = [pin for pin in lock.pins_for(LINUX) if pin.project == "spam"]
        self.assertEqual(
            spam.hashes,
            {"spam-1.0-py3-none-any.whl": f"sha256={SHA}", "spam-1.0.tar.gz": f"sha256={SHA}"},
        )

    def test_script(self) -> None:
        """The lock of a script begins at its requirements; a lock that begins nowhere is taken
        whole.
        """
        tail = "".join(map(locked, ("win", "ham")))
        spam = WHOLE[
            WHOLE.index('[[package]]\nname = "spam"') : WHOLE.index('[[package]]\nname = "win"')
        ]
        begun = 'version = 1\n[manifest]\nrequirements = [{ name = "ham" }]\n'
        self.assertEqual(names(parse_uv_lock(begun + spam + tail)), {"ham==1.0", "spam==1.0"})
        self.assertEqual(
            names(parse_uv_lock("version = 1\n" + spam + tail)),
            {"ham==1.0", "spam==1.0", "win==1.0"},
        )

    def test_refused(self) -> None:
        """What is no uv.lock, or one of another version, is refused in a line."""
        for text in (
            "",
            "version = 2",
            "version = 1\npackage = 3",
            WHOLE.replace('name = "spam"', 'name = "-"'),
            "version = 'x'",
            "version = 1\n"
            + "".join(
                f"[[package]]\nname = 'a'\nversion = '{n}'\n" for n in range(MOST_OF_ONE + 1)
            ),
        ):
            error = self.assertRaises(BadRequest, parse_uv_lock, text)
            self.assertLess(len(str(error)), 400)

    @settings(max_examples=60, deadline=None, database=None)
    @given(
        st.lists(
            st.tuples(
                st.integers(0, 5), st.integers(0, 5), st.sampled_from(["", "linux", "win32"])
            ),
            max_size=20,
        )
    )
    def test_reached(self, edges: list[tuple[int, int, str]]) -> None:
        """Circles end, and what is reached is what a search along the edges that hold finds."""
        lines = [
            "version = 1",
            (
                '[[package]]\nname = "root"\nsource = { virtual = "." }\ndependencies = [{ name = '
                '"p0" }]'
            ),
        ]
        for node in range(6):
            needs = [
                f'{{ name = "p{to}"'
                + (f", marker = \"sys_platform == '{where}'\"" if where else "")
                + " }"
                for start, to, where in edges
                if start == node
            ]
            source = 'source = { registry = "https://x.example" }'
            lines.append(
                f'[[package]]\nname = "p{node}"\nversion = "1"\n{source}\ndependencies = '
                f"[{', '.join(needs)}]"
            )
        reached, todo = {0}, [0]
        while todo:
            here = todo.pop()
            for start, to, where in edges:
                if start == here and where != "win32" and to not in reached:
                    reached.add(to)
                    todo.append(to)
        self.assertEqual(
            names(parse_uv_lock("\n".join(lines))), {f"p{node}==1" for node in reached}
        )
