"""The file as PasteDeploy reads it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.configuration import ini
from pypid.core.configuration.parse import Config
from pypid.core.errors import BadConfig
from pypid.core.pypicloud.keys import Ledger
from pypid.core.pypicloud.paste import Paste
from pypid.core.pypicloud.translation import translate, written
from tests.support.configuration import parse


def app(text: str) -> dict[str, str]:
    """The settings of the file's app; raises `AssertionError` for one that is refused."""
    document = ini.read(text, "/srv/pc/config.ini", ini.PASTE)
    ledger = Ledger("/srv/pc/config.ini")
    paste = Paste(document, ledger, "/srv/pc", "/srv/pc/config.ini")
    if not paste.find_app() or ledger.problems:
        raise AssertionError("\n".join(map(str, ledger.problems)))
    return {key: entry.text for key, entry in paste.found.items() if key not in paste.broken}


def refused(text: str) -> str:
    """What the file is refused for; empty if it is not."""
    try:
        read(text)
    except BadConfig as error:
        return str(error)
    return ""


def read(text: str, **environ: str) -> Config:
    """The configuration."""
    return parse(text, filename="/srv/pc/config.ini", environ=environ)


APP = "use = egg:pypicloud\nstorage.dir = /files\n"


class Sections(SynchronousTestCase):
    """Which sections lead to pypicloud."""

    def test_ways(self) -> None:
        """An app, one that inherits, a pipeline, a composite and a filter-app lead to the same
        settings.
        """
        base = {"storage.dir": "/files", "pypi.fallback": "none"}
        for text in (
            f"[app:main]\n{APP}pypi.fallback = none\n",
            f"[application:main] ; its name\n{APP}pypi.fallback : none\n",
            (
                f"[app:main]\nuse = base\npypi.fallback = none\n[app:base]\n{APP}pypi.fallback = "
                f"cache\n"
            ),
            "[pipeline:main]\npipeline = p one\n[filter:p]\nuse = egg:PasteDeploy#prefix\n"
            f"[app:one]\n{APP}pypi.fallback = none\n",
            (
                f"[composite:main]\nuse = egg:Paste#urlmap\n/ = "
                f"one\n[app:one]\n{APP}pypi.fallback=none\n"
            ),
            (
                f"[filter-app:main]\nuse = egg:Paste#translogger\nnext = "
                f"one\n[app:one]\n{APP}pypi.fallback=none\n"
            ),
            (
                "[app:main]\npaste.app_factory = pypicloud:main\nstorage.dir = "
                "/files\npypi.fallback = none\n"
            ),
            (
                f"[app:main]\n{APP}filter-with = p\npypi.fallback=none\n[filter:p]\nuse = "
                f"egg:PasteDeploy#prefix\n"
            ),
            f"[app:pypi]\n{APP}pypi.fallback = none\n[app:other]\nuse = egg:other\n",
        ):
            self.assertEqual(app(text), base, text)

    def test_no_pypicloud(self) -> None:
        """Another program's file, two apps of which nobody knows which, and another file's settings
        are refused.
        """
        for text, why in (
            ("[app:main]\nuse = egg:pypiserver#main\nroot = /p\n", "no pypicloud is in it"),
            (
                "[app:a]\nuse = egg:pypicloud\n[app:b]\nuse = egg:pypicloud\n",
                "call one of them [app:main]",
            ),
            (
                "[app:main]\nuse = config:base.ini\n",
                "config.ini:2: [app:main] use: use: what other files say is not read",
            ),
            ("[app:main]\nuse = base\n", "there is no app called 'base'"),
            ("[app:main]\nuse = main\n", "leads back"),
            ("[app:a]\nuse = b\npypi.x=1\n[app:b]\nuse = a\n", "leads back"),
            ("[pipeline:main]\npipeline =\n", "there is no app called ''"),
            (
                f"[app:main]\n{APP}filter-with = auth\n[filter:auth]\nuse = egg:Paste#auth_basic\n",
                "pypid cannot run it",
            ),
            (f"[app:main]\n{APP}filter-with = egg:repoze.who\n", "pypid cannot run it"),
            (
                (
                    f"[pipeline:main]\npipeline = who one\n[filter:who]\npaste.filter_factory = "
                    f"x:y\n[app:one]\n{APP}"
                ),
                "cannot run it",
            ),
            (
                f"[app:main]\n{APP}pyramid.tweens = company.vpn_only\n",
                "company.vpn_only ran in pypicloud",
            ),
            (f"[app:main]\n{APP}just a line\n", "config.ini:4: [app:main]: the line is neither"),
        ):
            self.assertIn(why, refused(text), text)

    def test_proxies_headers(self) -> None:
        """That everybody's forwarding headers were believed is said, and nobody's are believed."""
        config = read(
            f"[app:main]\n{APP}filter-with = p\n[filter:p]\nuse = egg:PasteDeploy#prefix\nscheme = "
            "https\nprefix = /pypi\n"
        )
        self.assertEqual(config.server.trusted_proxies, ())
        notes = "\n".join(config.notes)
        for words in (
            "name your proxies in [server] trusted_proxies",
            "scheme: for URLs",
            "prefix: pypid answers at / alone",
        ):
            self.assertIn(words, notes)


class Values(SynchronousTestCase):
    """What stands in a value."""

    def test_interpolation(self) -> None:
        """%(here)s, %(__file__)s, keys of the section and of [DEFAULT], and %% are filled in, as
        deep as configparser does.
        """
        text = f"[DEFAULT]\nroot = %(here)s/data\n[app:main]\n{APP}pypi.a = %(root)s/x\n"
        text += "pypi.b = %(pypi.a)s/%%\npypi.c = %(__file__)s\n"
        found = app(text)
        self.assertEqual(found["pypi.a"], "/srv/pc/data/x")
        self.assertEqual(found["pypi.b"], "/srv/pc/data/x/%")
        self.assertEqual(found["pypi.c"], "/srv/pc/config.ini")

    def test_what_cannot_be_filled_in(self) -> None:
        """It is refused where the value is needed, and not looked at where it is not; the
        environment can say it.
        """
        for value in ("%(nobody)s/x", "100%", "%(storage.dir)s"):
            text = f"[app:main]\nuse = egg:pypicloud\nstorage.dir = {value}\ndb.url = {value}\n"
            self.assertIn("config.ini:3: storage.dir: ", refused(text), value)
            self.assertNotIn("db.url", refused(text))
            self.assertEqual(read(text, PPC_STORAGE_DIR="/x").storage.path, "/x")

    def test_defaults_are_no_settings(self) -> None:
        """What [DEFAULT] says is for values; a key that it has, too, is none of the app's, and that
        is said.
        """
        text = (
            f"[DEFAULT]\npypi.fallback = cache\npypi.default_read = "
            f"everyone\n[app:main]\n{APP}pypi.default_read = x\n"
        )
        self.assertEqual(app(text), {"storage.dir": "/files"})
        config = read(text)
        self.assertEqual(
            (config.upstream.mode.value, config.access.read.text()), ("redirect", "authenticated")
        )
        self.assertIn(
            "pypi.default_read: pypicloud does not see it, since [DEFAULT] has it, too",
            "\n".join(config.notes),
        )


class Environment(SynchronousTestCase):
    """``PPC_*`` variables."""

    def test_wins(self) -> None:
        """A variable wins over the file, and PYPID_* over both; where it is from is told."""
        text = f"[app:main]\n{APP}pypi.fallback = none\n"
        self.assertEqual(read(text, PPC_PYPI_FALLBACK="cache").upstream.mode.value, "cache")
        self.assertEqual(
            read(text, PPC_PYPI_FALLBACK="cache").origins["upstream", "mode"], "PPC_PYPI_FALLBACK"
        )
        both = read(text, PPC_PYPI_FALLBACK="cache", PYPID_UPSTREAM_MODE="mirror")
        self.assertEqual(both.upstream.mode.value, "mirror")
        self.assertIn("PPC_PYPI_FALLBACK", self.refusal(text, PPC_PYPI_FALLBACK="all"))

    def refusal(self, text: str, **environ: str) -> str:
        with self.assertRaises(BadConfig) as caught:
            read(text, **environ)
        return str(caught.exception)

    def test_people(self) -> None:
        """Users, groups and rights never come from the environment; auth.admins may."""
        hashed = "$5$rounds=1000$saltsalt$aGFzaGhhc2g"
        config = read(
            f"[app:main]\n{APP}user.alice = {hashed}\n",
            PPC_USER_BOB=hashed,
            PPC_USER_ALICE="x",
            PPC_GROUP_TEAM="alice",
            PPC_PACKAGE_SPAM_USER_BOB="rw",
            PPC_AUTH_ADMINS="alice",
        )
        self.assertEqual((dict(config.users), dict(config.groups)), ({"alice": hashed}, {}))
        self.assertEqual((dict(config.projects), config.access.admins), ({}, ("alice",)))
        self.assertEqual(sum("come from the file only" in note for note in config.notes), 1)

    def test_swept(self) -> None:
        """Any key below db., auth.db. and session. may be said so; others that nobody knows are
        said once.
        """
        config = read(
            f"[app:main]\n{APP}",
            PPC_DB_URL="redis://u:hunter2@h",
            PPC_SESSION_ENCRYPT_KEY="hunter2",
            PPC_NEW="1",
        )
        notes = "\n".join(config.notes)
        for words in (
            "PPC_DB_URL: db.url: not taken over",
            "session.encrypt_key",
            "PPC_NEW: no pypicloud has a key of this name",
        ):
            self.assertIn(words, notes)
        self.assertNotIn("hunter2", notes)
        [both] = [
            note
            for note in read(f"[app:main]\n{APP}", PPC_A="1", PPC_B="2").notes
            if "PPC_A" in note
        ]
        self.assertIn("PPC_A, PPC_B: no pypicloud has a key of this name", both)
        accounts = read(f"[app:main]\n{APP}pypi.auth = sql\n", PPC_AUTH_DB_URL="sqlite:////x")
        self.assertEqual(accounts.inherits, "sqlite:////x")


FRAGMENTS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *(
                    "[app:main]",
                    "[app:x]",
                    "[pipeline:main]",
                    "[composite:main]",
                    "[filter:f]",
                    "[DEFAULT]",
                    "[server:main]",
                    "[uwsgi]",
                ),
                *(
                    "use = egg:pypicloud",
                    "use = x",
                    "use = egg:Paste#urlmap",
                    "pipeline = f x",
                    "/ = x",
                    "filter-with = f",
                    "next = x",
                ),
                *(
                    "storage.dir = %(here)s/p",
                    "pypi.storage = s3",
                    "storage.bucket = b",
                    "pypi.auth = sql",
                    "auth.db.url = sqlite://",
                ),
                *(
                    "user.a = $5$x",
                    "group.g = a b",
                    "package.p.user.a = rw",
                    "auth.admins = a",
                    "pypi.default_read = g everyone",
                ),
                *(
                    "port = %(x)s",
                    "listen = [::]:80 *:1",
                    "http = :80",
                    "trusted_proxy = *",
                    "get y = x",
                    "set x = %(y)s",
                    "x = %(x)s",
                ),
                *(
                    "    more",
                    "# c",
                    "",
                    "=",
                    "%",
                    "\x00",
                    "\ufeff[app:main]",
                    "pypi.auth = ldap",
                    "auth.ldap.url = ldap://h",
                ),
            ]
        ),
        st.text(max_size=12),
    ),
    max_size=14,
)


class Robustness(SynchronousTestCase):
    """Whatever the file is."""

    @settings(max_examples=150, deadline=None, database=None)
    @given(
        FRAGMENTS,
        st.dictionaries(
            st.sampled_from(["PPC_PYPI_AUTH", "PPC_X", "PPC_STORAGE_DIR", "PPC_USER_"]),
            st.text(max_size=5),
        ),
    )
    def test_any_file(self, lines: list[str], environ: dict[str, str]) -> None:
        """It gives a configuration that can be written down, or is refused in words, and nothing
        else.
        """
        text = "[app:main]\n" + "\n".join(lines)
        try:
            read(text, **environ)
            translation = translate(text, filename="/srv/pc/config.ini", environ=environ)
            written(translation, "/srv/pc/config.ini")
        except BadConfig as error:
            self.assertTrue(str(error).isprintable() or "\n" in str(error))
