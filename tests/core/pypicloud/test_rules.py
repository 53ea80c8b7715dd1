"""Rights: nobody may do by the translation what pypicloud did not let them, whatever
the file says.
"""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.configuration.parse import Config
from pypid.core.errors import BadConfig
from pypid.core.packaging.names import project_name
from pypid.core.permissions import ANONYMOUS, Action, Identity, Rules, may
from pypid.core.pypicloud.keys import KEYS
from pypid.daemon.identities import rules_of
from tests.core.pypicloud.oracle import HASH, Oracle, normalized
from tests.support.configuration import parse

modest = settings(max_examples=25, deadline=None, database=None)

USERS = ("alice", "bob", "carol", "x.y", "everyone", "john doe", "__token__")
GROUPS = (
    "team",
    "ops",
    "admins",
    "admin",
    "nope",
    "everyone",
    "authenticated",
    "a.b",
    "pypicloud-nobody",
)
PACKAGES = ("spam", "my-pkg", "my_pkg", "My.Pkg", "Spam", "a.b", "-bad-", "system.Everyone")
PROJECTS = ("spam", "my-pkg", "other")
LISTED = st.lists(
    st.sampled_from(
        (*GROUPS, "group:team", "system.Everyone", "system.Authenticated", "alice", "*")
    ),
    max_size=3,
).map(" ".join)
RIGHT = st.sampled_from(
    ("r", "rw", "w", "wr", "", "x", "read", "read write", "write", "rwx", "r w", "none", "RW")
)
PACKAGE_KEYS = st.one_of(
    st.builds("package.{}.user.{}".format, st.sampled_from(PACKAGES), st.sampled_from(USERS)),
    st.builds(
        "package.{}.group.{}".format,
        st.sampled_from(PACKAGES),
        st.sampled_from((*GROUPS, "system.Everyone")),
    ),
    st.sampled_from(
        (
            "package.spam.user",
            "package.spam",
            "package.spam.owner.alice",
            "package.spam.user.alice.x",
            "package...",
        )
    ),
)
BY_LISTS = (
    "pypi.default_read",
    "pypi.default_write",
    "pypi.cache_update",
    "pypi.allow_overwrite_groups",
    "pypi.allow_delete_groups",
)
WORDS = st.sampled_from(("", "true", "false", "yes", "0", "7", "x", "/x", "everyone", "*"))


@st.composite
def apps(draw: st.DrawFn) -> dict[str, str]:
    """The settings of an app, with whatever else there can be."""
    found = draw(
        st.dictionaries(
            st.sampled_from([one.name for one in KEYS if not one.name.endswith(".")]),
            WORDS,
            max_size=4,
        )
    )
    found = {
        k: v
        for k, v in found.items()
        if not k.startswith(("pyramid.", "storage.", "pypi.auth", "pypi.access", "aws."))
    }
    found |= {"pypi.storage": "file", "storage.dir": "/files"}
    found |= draw(st.dictionaries(st.sampled_from(BY_LISTS), LISTED))
    found |= draw(
        st.dictionaries(
            st.sampled_from(("pypi.allow_overwrite", "pypi.allow_delete")), WORDS, max_size=1
        )
    )
    for user in draw(st.sets(st.sampled_from(USERS))):
        found[f"user.{user}"] = draw(
            st.sampled_from((HASH, HASH, HASH, "plain", "{SSHA}x", "$1$x$y", ""))
        )
    for group in draw(st.sets(st.sampled_from(GROUPS))):
        found[f"group.{group}"] = " ".join(
            draw(st.lists(st.sampled_from([user for user in USERS if " " not in user])))
        )
    found |= draw(st.dictionaries(PACKAGE_KEYS, RIGHT, max_size=6))
    found["auth.admins"] = " ".join(
        draw(st.lists(st.sampled_from(("alice", "carol", "gone", "everyone")), max_size=2))
    )
    found["pypi.fallback"] = draw(st.sampled_from(("redirect", "cache", "none", "mirror")))
    return found


def text_of(app: Mapping[str, str]) -> str:
    """As an INI has it."""
    return "[app:main]\nuse = egg:pypicloud\n" + "".join(
        f"{key} = {value}\n" for key, value in app.items()
    )


def translated(app: Mapping[str, str]) -> Config | None:
    """What becomes of it; None if that is refused."""
    try:
        return parse(text_of(app), filename="/srv/config.ini")
    except BadConfig:
        return None


def identity(config: Config, user: str) -> Identity:
    """Who it is that has logged in."""
    groups = frozenset(group for group, members in config.groups.items() if user in members)
    return Identity(user, groups, user in config.access.admins)


class NeverWider(SynchronousTestCase):
    """The translation against an oracle of pypicloud's rules."""

    def compare(self, oracle: Oracle, rules: Rules, user: str | None, who: Identity) -> None:
        for project in PROJECTS:
            name = project_name(project)
            for action, before in (
                (Action.READ, oracle.may(user, project, "read")),
                (Action.WRITE, oracle.may(user, project, "write")),
                (Action.OVERWRITE, oracle.may_overwrite(user, project)),
                (Action.DELETE, oracle.may_delete(user, project)),
                (Action.FETCH, oracle.may_fetch(user, project)),
            ):
                if may(rules, who, action, name):
                    self.assertTrue(before, f"{user} may now {action.value} {project}")

    @modest
    @example(
        {
            "storage.dir": "/f",
            "package.my_pkg.user.alice": "rw",
            "user.alice": HASH,
            "pypi.fallback": "redirect",
        }
    )
    @example(
        {
            "storage.dir": "/f",
            "package.spam.user.alice": "w",
            "user.alice": HASH,
            "pypi.default_read": "everyone",
        }
    )
    @example({"storage.dir": "/f", "user.alice": HASH})
    @given(apps())
    def test_config(self, app: dict[str, str]) -> None:
        """Who could not read, publish, overwrite, delete or fetch still cannot; who could not log
        in still cannot.
        """
        config = translated(app)
        if config is None:
            return
        oracle, rules = Oracle(app), rules_of(config)
        self.assertLessEqual(set(config.users), oracle.users())
        self.assertLessEqual(
            set(config.access.admins), set(oracle.words("auth.admins", "")) & oracle.users()
        )
        self.compare(oracle, rules, None, ANONYMOUS)
        for user in config.users:
            self.compare(oracle, rules, user, identity(config, user))

    @modest
    @given(apps(), st.sets(st.sampled_from(("team", "ops", "admin"))))
    def test_accounts_database(self, app: dict[str, str], groups: set[str]) -> None:
        """With people in a database the file's users, groups and rights have no effect: whoever
        logs in is of the database.
        """
        app = {**app, "pypi.auth": "sql", "auth.db.url": "sqlite:////x"}
        config = translated(app)
        if config is None:
            return
        self.assertEqual(
            (dict(config.users), dict(config.projects), config.access.admins), ({}, {}, ())
        )
        kept = {
            key: value
            for key, value in app.items()
            if not key.startswith(("user.", "group.", "package.", "auth.admins"))
        }
        oracle = Oracle({**kept, **{f"group.{group}": "dora" for group in groups}})
        self.compare(oracle, rules_of(config), None, ANONYMOUS)
        self.compare(oracle, rules_of(config), "dora", Identity("dora", frozenset(groups)))

    @modest
    @given(apps(), st.booleans())
    def test_directory(self, app: dict[str, str], in_file: bool) -> None:
        """With people in a directory the file has groups and rights if it says so; no group of the
        directory's counts.
        """
        app = {
            **{key: value for key, value in app.items() if not key.startswith("auth.ldap")},
            "pypi.auth": "ldap",
            "auth.ldap.url": "ldaps://h",
            "auth.ldap.base_dn": "dc=x",
            "auth.ldap.user_search_filter": "(uid={username})",
            **({"auth.ldap.fallback": "config"} if in_file else {}),
        }
        config = translated(app)
        if config is None:
            return
        self.assertEqual((dict(config.users), config.access.admins), ({}, ()))
        self.assertIn("pypicloudKnowsNoGroups", config.ldap.group_filter or "")
        left = (
            ("user.", "auth.admins") if in_file else ("user.", "auth.admins", "group.", "package.")
        )
        oracle = Oracle({key: value for key, value in app.items() if not key.startswith(left)})
        for user in ("alice", "bob"):
            self.compare(oracle, rules_of(config), user, identity(config, user))

    @modest
    @given(
        st.dictionaries(PACKAGE_KEYS, RIGHT, max_size=6),
        st.dictionaries(st.sampled_from(BY_LISTS[:2]), LISTED),
    )
    def test_before_names_were_normalised(
        self, packages: dict[str, str], lists: dict[str, str]
    ) -> None:
        """Before 0.4 rules held for names as they are spelled: where there is but one spelling,
        nobody gets more than that.
        """
        app = {
            "storage.dir": "/f",
            "user.alice": HASH,
            "user.bob": HASH,
            "group.team": "alice",
            **packages,
            **lists,
        }
        config = translated(app)
        assert config is not None
        for project in PROJECTS:
            spelled = {
                key.split(".")[1]
                for key in packages
                if key.count(".") == 3 and normalized(key.split(".")[1]) == project
            }
            spelled = {
                each
                for each in spelled
                if any(k.split(".")[1:3] in ([each, "user"], [each, "group"]) for k in packages)
            }
            if len(spelled) != 1:
                continue
            oracle = Oracle(app)
            for user in ("alice", "bob"):
                for action, can in ((Action.READ, "read"), (Action.WRITE, "write")):
                    if may(rules_of(config), identity(config, user), action, project_name(project)):
                        self.assertTrue(oracle.may(user, *spelled, can), (user, can, project))

    @modest
    @given(apps())
    def test_nothing_is_lost_where_all_can_be_said(self, app: dict[str, str]) -> None:
        """Where names are ones that we can have, and no right is to write alone, everybody may read
        and publish as before.
        """
        plain = {"alice", "bob", "carol", "team", "ops", "spam", "other", "my-pkg"}
        app = {
            key: value
            for key, value in app.items()
            if not key.startswith(("package.", "user.", "group.", "pypi.default", "auth.admins"))
            or key.startswith("pypi.default")
            or (key == "auth.admins" and set(value.split()) <= {"alice"})
            or (
                key.count(".") == (3 if key[0] == "p" else 1)
                and set(key.split(".")[1:]) - {"user", "group"} <= plain
            )
        }
        app = {
            key: value
            for key, value in app.items()
            if Oracle.can(value) != {"write"} or not key.startswith("package.")
        }
        app |= {
            "user.alice": HASH,
            "user.bob": HASH,
            "group.team": "alice",
            "group.ops": "bob alice",
        }
        config = translated(app)
        if config is None:
            return
        oracle, rules = Oracle(app), rules_of(config)
        for user in (None, "alice", "bob"):
            who = identity(config, user) if user else ANONYMOUS
            for project in PROJECTS:
                for action, can in ((Action.READ, "read"), (Action.WRITE, "write")):
                    now = may(rules, who, action, project_name(project))
                    self.assertEqual(now, oracle.may(user, project, can), (user, can, project))


class Rights(SynchronousTestCase):
    """What becomes of single rules."""

    def projects(self, **app: str) -> dict[str, str]:
        config = parse(
            text_of({"storage.dir": "/f", "user.alice": HASH, "group.team": "alice", **app}),
            filename="/srv/config.ini",
        )
        self.notes = "\n".join(config.notes)
        return {key: right.text for key, right in config.projects.items()}

    def test_another_spelling(self) -> None:
        """A name that is not normalised keeps its project from the defaults, with no more than
        these give; that is said.
        """
        found = self.projects(**{"package.my_app.user.alice": "rw"})
        self.assertEqual(found, {"my-app.user.alice": "r"})
        self.assertIn("package.my_app.user.alice: pypicloud does not heed it since 0.4", self.notes)
        found = self.projects(
            **{
                "package.my_app.user.alice": "rw",
                "pypi.default_write": "team",
                "pypi.default_read": "",
            }
        )
        self.assertEqual(found, {"my-app.group.pypicloud-nobody": "r"})
        found = self.projects(
            **{"package.my_app.user.alice": "rw", "package.my-app.group.team": "r"}
        )
        self.assertEqual(found, {"my-app.group.team": "r"})
        self.assertIn("there are rules for that one", self.notes)

    def test_shut(self) -> None:
        """A project whose entries let in nobody stays shut, though the defaults
        let in everybody.
        """
        for key, value in (
            ("package.spam.user.alice", ""),
            ("package.spam.group.gone", "rw"),
            ("package.spam.user.john doe", "rw"),
            ("package.spam.user.alice", "w"),
        ):
            found = self.projects(**{key: value, "pypi.default_read": "everyone"})
            self.assertEqual(found, {"spam.group.pypicloud-nobody": "r"}, key)
        found = self.projects(**{"package.spam.user.alice": "", "group.pypicloud-nobody": "alice"})
        self.assertEqual(found, {"spam.group.pypicloud-nobody-": "r"})

    def test_groups_with_words_for_names(self) -> None:
        """A group called like a word of ours has another name here, wherever it is used."""
        app = {
            "group.admins": "alice bob",
            "package.spam.group.admins": "rw",
            "pypi.default_write": "admins",
            "storage.dir": "/f",
        }
        config = parse(text_of(app), filename="/srv/config.ini")
        self.assertEqual(config.groups, {"pypicloud-admins": ("alice", "bob")})
        self.assertEqual(list(config.projects), ["spam.group.pypicloud-admins"])
        self.assertEqual(config.access.write.text(), "group:pypicloud-admins")
        self.assertIn(
            "group.admins: not a valid group name here; it is pypicloud-admins",
            "".join(config.notes),
        )

    def test_yes_and_no(self) -> None:
        """The older keys for overwriting and deleting are yes or no: no means no, and the newer
        ones count before them.
        """
        for text, expected in (("true", "authenticated"), ("false", "nobody"), ("", "nobody")):
            app = {"storage.dir": "/f", "pypi.allow_overwrite": text, "pypi.allow_delete": text}
            config = parse(text_of(app), filename="/srv/config.ini")
            self.assertEqual(
                [config.access.overwrite.text(), config.access.delete.text()], [expected] * 2
            )
        config = parse(
            text_of({"storage.dir": "/f", "pypi.allow_overwrite": "admin"}),
            filename="/srv/config.ini",
        )
        said = "".join(config.notes)
        self.assertIn("'admin' is neither yes nor no", said)
        self.assertIn("pypi.allow_overwrite_groups", said)
        app = {
            "storage.dir": "/f",
            "pypi.allow_overwrite": "true",
            "pypi.allow_overwrite_groups": "",
            "group.x": "y",
        }
        self.assertEqual(
            parse(text_of(app), filename="/srv/config.ini").access.overwrite.text(), "nobody"
        )
