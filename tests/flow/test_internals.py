"""When private names of other packages may be used, and where."""

from __future__ import annotations

import ast
from importlib.metadata import version
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import pypid
from pypid.flow import coroutines
from pypid.flow.coroutines import TESTED, name_obstacle, version_obstacle

SOURCE = Path(pypid.__file__).parent
PLACES = {
    "web/fastpath/os/",
    "web/http/channel.py",
    "web/http/channel_check.py",
    "web/http/twisted_internals.py",
    "web/app/route_table.py",
    "prefork/messages.py",
    # not for speed: each checks that its names exist, or fails in a test of the oldest Twisted
    "blobs/s3/client.py",
    "cli/grammar.py",
    "blobs/s3/refusals.py",
    "blobs/s3/signatures.py",
    "daemon/listeners.py",
    "flow/world.py",
    "http_client/connections.py",
    "http_client/request_body.py",
    "http_client/response_body.py",
    "metrics/exposition.py",
    "wiring/metrics.py",
}
"""The folders and modules that may use private names of other packages."""
DOCUMENTED = {"_exit", "_mapping", "_replace"}
"""Names that begin with an underscore and are documented: of `os`, rows of SQLAlchemy, and named
tuples.
"""


def names_defined(tree: ast.AST) -> set[str]:
    """All names that a module defines: functions, classes, fields and attributes."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.add(node.name)
            case ast.Attribute(ctx=ast.Store()):
                names.add(node.attr)
            case ast.Name(ctx=ast.Store()):
                names.add(node.id)
    return names


def private_names_used(tree: ast.AST) -> set[str]:
    """The private names that a module takes from other objects, as attributes or by `getattr`."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name) if name.startswith("_"):
                names.add(name)
            case ast.Call(func=ast.Name("getattr" | "hasattr"), args=[_, ast.Constant(name), *_]):
                names.add(str(name))
            case ast.ImportFrom(names=imported):
                names |= {each.name for each in imported}
    return {name for name in names if name.startswith("_") and not name.startswith("__")}


UNTESTED = (
    None
    if version_obstacle(*TESTED) is None
    else "this run uses no private names (PYPID_SERVER_FAST_PATH=no)"
)


class VersionTests(SynchronousTestCase):
    """Which versions of other packages may be used."""

    skip = UNTESTED

    def test_installed(self) -> None:
        """The installed versions are in the table."""
        self.assertIsNone(version_obstacle(*TESTED))
        for package in TESTED:
            self.assertEqual(coroutines.version(package), version(package))

    def test_outside(self) -> None:
        """An older and a newer version are refused; a patch release of the newest one is not."""
        for installed, is_tested in (
            ("24.6.9", False),
            ("24.7.0", True),
            ("25.5.0", True),
            ("26.10.0", True),
            ("26.10.7", True),
            ("26.11.0", False),
            ("27.1.0rc1", False),
        ):
            self.patch(coroutines, "version", lambda _, installed=installed: installed)
            self.patch(coroutines, "TESTED", {"Twisted": ("24.7", "26.10")})
            reason = version_obstacle("Twisted")
            self.assertEqual(reason is None, is_tested, installed)
            if reason is not None:
                self.assertEqual(reason, f"Twisted {installed} is untested (tested: 24.7 to 26.10)")

    def test_unlisted(self) -> None:
        """A package that is not in the table is refused."""
        self.patch(coroutines, "TESTED", {})
        self.assertEqual(version_obstacle("Twisted"), f"Twisted {version('Twisted')} is untested")

    def test_names(self) -> None:
        """A name that is missing is reported, with its class."""
        self.assertIsNone(name_obstacle(self, ["assertEqual", "_testMethodName"]))
        self.assertEqual(
            name_obstacle(self, ["id", "_of_tomorrow"]), "VersionTests has no _of_tomorrow"
        )
        self.assertEqual(name_obstacle(coroutines, ["_x"]), "pypid.flow.coroutines has no _x")


class PlaceTests(SynchronousTestCase):
    """Where private names of other packages are used."""

    def test_places(self) -> None:
        """Only the modules in `PLACES` use private names that no module of pypid defines."""
        trees = {
            str(path.relative_to(SOURCE)): ast.parse(path.read_text())
            for path in SOURCE.rglob("*.py")
        }
        ours = set().union(*map(names_defined, trees.values())) | DOCUMENTED
        private = private_names_used
        for path, tree in trees.items():
            if not path.startswith(tuple(PLACES)):
                self.assertEqual(private(tree) - ours, set(), path)
