"""Lock files: which releases and files a target needs of them."""

from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import BadRequest
from pypid.core.packaging.requirements import (
    ELSEWHERE,
    LONGEST_KEY,
    Lock,
    Pin,
    Remark,
    parse_pylock,
    target,
)

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
