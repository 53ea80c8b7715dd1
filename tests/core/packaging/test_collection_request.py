"""The releases that requirements and lock files pin."""

from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import BadRequest
from pypid.core.packaging.collection_request import UNPINNED, parse_dependencies
from pypid.core.packaging.requirements import Remark
from tests.core.packaging.test_lock_files import PYLOCK, SHA


class DependencyListTests(SynchronousTestCase):
    def test_exact_versions_are_pins(self) -> None:
        """Only a specifier that allows one version is a pin."""
        lines = (
            "A_b == 1.0 ; python_version < '3'\nc===2-1\nd==1.*\ne>=1\nf\ng==1,==2\n"
            f"h==3 --hash=sha256:{SHA}\n-r other.txt\n"
        )
        found = parse_dependencies([("requirements", lines.encode())])
        assert found is not None
        pins = {f"{pin.project} {pin.version}" for pin in found.pins}
        self.assertEqual(pins, {"a-b 1.0", "c 2-1", "h 3"})
        unpinned = {remark.line: remark.reason for remark in found.unpinned}
        self.assertEqual(unpinned.keys(), {"d==1.*", "e>=1", "f", "g==1,==2"})
        self.assertEqual(set(unpinned.values()), {UNPINNED})
        self.assertEqual([remark.line for remark in found.unparseable], ["-r other.txt"])

    def test_all_pins_of_locks(self) -> None:
        """Releases of every platform count, with the hashes of their files, each release once."""
        parts = [("pylock.toml", PYLOCK.encode()), ("requirements", b"spam==1.0")]
        found = parse_dependencies(parts)
        assert found is not None
        pins = [f"{pin.project} {pin.version}" for pin in found.pins]
        self.assertEqual(len(pins), len(set(pins)))
        for pin in ("win 2.0", "never 3.0"):
            self.assertIn(pin, pins)
        [spam] = [pin for pin in found.pins if pin.project == "spam"]
        self.assertEqual(spam.hashes["spam-1.0-py3-none-any.whl"], f"sha256={SHA}")
        self.assertIn(Remark("near", found.unparseable[0].reason), found.unparseable)

    def test_no_files(self) -> None:
        """An empty request has no dependencies."""
        self.assertIsNone(parse_dependencies([("requirements", b" "), ("platform", b"linux")]))

    def test_locks_of_single_tools_are_refused(self) -> None:
        """With the command that exports them."""
        for name, command in (
            ("uv.lock", "uv export --format pylock.toml"),
            ("pdm.lock", "pdm export"),
        ):
            error = self.assertRaises(BadRequest, parse_dependencies, [(name, b"version = 1")])
            self.assertIn(command, str(error))
