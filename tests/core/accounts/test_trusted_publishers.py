"""Trusted publishing: which rules there are, and whom they let in."""

from __future__ import annotations

import string
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.accounts.trusted_publishers import (
    LONGEST_USER,
    Allowance,
    ClaimCondition,
    Forge,
    allowed_projects,
    is_safe,
    issuer_problems,
    parse_allowance,
    publisher_of,
    user_of,
)
from tests.issuers import github

quick = settings(max_examples=30, deadline=None, database=None)

HUB = "https://token.actions.githubusercontent.com"
PLAIN = st.text(
    st.characters(codec="utf-8", exclude_characters="*?[", categories=["L", "N", "P"]),
    min_size=1,
    max_size=20,
)
VALUES = st.one_of(
    st.text(max_size=20),
    st.integers(),
    st.booleans(),
    st.none(),
    st.floats(),
    st.lists(st.text(max_size=5)),
)
CLAIMS = st.dictionaries(st.sampled_from(["sub", "repository", "ref", "environment", "x"]), VALUES)


def reason(text: str, forge: Forge = Forge.GITHUB) -> str:
    """Why the rule is none; empty if it is one."""
    try:
        parse_allowance(text, forge)
    except ValueError as error:
        return str(error)
    return ""


def projects(text: str, **claims: Any) -> tuple[str, ...]:
    """The globs of projects that a job with these claims of GitHub's may publish by the rule."""
    return allowed_projects([parse_allowance(text, Forge.GITHUB)], github(**claims))


class RuleTests(SynchronousTestCase):
    """How rules are written."""

    def test_parts(self) -> None:
        """A rule is a glob of projects and any number of claims, all of which must fit."""
        rule = parse_allowance("acme-*  repository=octo/app\tref=refs/tags/*", Forge.GITHUB)
        self.assertEqual(
            rule,
            Allowance(
                "acme-*",
                (ClaimCondition("repository", "octo/app"), ClaimCondition("ref", "refs/tags/*")),
            ),
        )
        self.assertEqual(
            parse_allowance("x sub=a=b", Forge.OTHER).conditions, (ClaimCondition("sub", "a=b"),)
        )

    def test_everybody(self) -> None:
        """A rule that would let strangers publish is none: without a claim, or without one that
        says whose workflow it is.
        """
        for text in (
            "app",
            "app aud=pypid",
            "app ref=refs/heads/main",
            "app environment=release workflow_ref=*",
        ):
            self.assertIn(
                "everybody on GitHub could publish; add one of repository=", reason(text), text
            )
        for text in (
            "app",
            "app aud=pypid iss=https://x",
            "app sub=*",
            "app sub=** environment=?*",
        ):
            self.assertIn("everybody with a token of this issuer", reason(text, Forge.OTHER), text)
        self.assertIn("add one of project_path=", reason("app repository=octo/app", Forge.GITLAB))

    def test_names_that_strangers_could_choose(self) -> None:
        """The owner of a repository is said whole: octo* is octopus, too."""
        for text in (
            "app repository=*",
            "app repository=octo*",
            "app repository=oct[o]/app",
            "app repository=*/app",
            "app repository_owner=oct?",
            "app repository_id=7*",
            "app sub=repo:octo*",
            "app sub=*",
            "app sub=environment:release",
            "app sub=environment:release/*",
        ):
            self.assertIn("strangers could choose", reason(text), text)
        self.assertIn("strangers could choose", reason("app namespace_path=acme*", Forge.GITLAB))

    def test_good_ones(self) -> None:
        """One claim that says whose it is will do, and others may be as wide as they like."""
        for text in (
            "app repository=octo/app",
            "app repository=octo/*",
            "* repository_owner=octo ref=*",
            "app repository_id=74",
            "app sub=repo:octo/app:environment:release",
            "app sub=repo:octo/*:ref:refs/tags/*",
            "app repository=* repository_owner=octo",
        ):
            self.assertEqual(reason(text), "", text)
        for text in (
            "app project_path=acme/app",
            "app namespace_path=acme/*",
            "app sub=project_path:acme/app:*",
        ):
            self.assertEqual(reason(text, Forge.GITLAB), "", text)
        for text in (
            "app sub=job-7",
            "app organization_id=17 sub=*",
            "app https://claims.example/team=core",
        ):
            self.assertEqual(reason(text, Forge.OTHER), "", text)

    @quick
    @given(st.text(max_size=60))
    def test_anything(self, text: str) -> None:
        """Any text is a rule that names somebody, or a `ValueError` that can be printed."""
        for forge in Forge:
            try:
                rule = parse_allowance(text, forge)
            except ValueError as error:
                self.assertTrue(str(error).isprintable(), repr(str(error)))
            else:
                self.assertTrue(rule.conditions)
                self.assertFalse(rule.fits({}))


class MatchingTests(SynchronousTestCase):
    """Whom rules let in."""

    def test_github(self) -> None:
        """A job is let in by its repository, owner, workflow, environment and ref, as the rule
        says.
        """
        self.assertEqual(projects("app repository=octo/app"), ("app",))
        self.assertEqual(projects("app repository=octo/app", repository="octo/app2"), ())
        self.assertEqual(projects("app repository=octo/app", repository="Octo/app"), ())
        self.assertEqual(projects("app-* repository_owner=octo ref=refs/heads/*"), ("app-*",))
        self.assertEqual(projects("app repository=octo/app environment=release"), ())
        self.assertEqual(
            projects("app repository=octo/app environment=release", environment="release"), ("app",)
        )
        self.assertEqual(
            projects("app repository=octo/app workflow_ref=*/release.yml@refs/heads/main"), ("app",)
        )
        self.assertEqual(
            projects("app repository=octo/app workflow_ref=*/release.yml@refs/tags/*"), ()
        )

    def test_several(self) -> None:
        """Of several rules each that fits gives its projects, each once."""
        lines = [
            "b repository=octo/app",
            "a repository=octo/*",
            "b repository_owner=octo",
            "c repository=else/app",
        ]
        rules = [parse_allowance(line, Forge.GITHUB) for line in lines]
        self.assertEqual(allowed_projects(rules, github()), ("b", "a"))
        self.assertEqual(allowed_projects([], github()), ())

    def test_user(self) -> None:
        """A rule names the user who owns new projects; of several rules that fit, all have to name
        the same one.
        """
        alice, bob, none = (
            parse_allowance(f"{name} repository=octo/app{more}", Forge.GITHUB)
            for name, more in (("a", " as_user=alice"), ("b", " as_user=bob"), ("c", ""))
        )
        other = parse_allowance("d repository=else/app as_user=carol", Forge.GITHUB)
        self.assertEqual(alice.conditions, none.conditions)
        for rules, expected in (
            ([alice], "alice"),
            ([alice, other], "alice"),
            ([alice, bob], None),
            ([alice, none], None),
            ([none], None),
            ([], None),
        ):
            self.assertEqual(user_of(rules, github()), expected)
        for wrong in ("as_user=a as_user=b", "as_user=", "as_user=everyone", "as_user=a:b"):
            self.assertRaises(
                ValueError, parse_allowance, f"x repository=octo/app {wrong}", Forge.GITHUB
            )

    @quick
    @given(CLAIMS, PLAIN, st.sampled_from(["sub", "repository", "ref"]))
    def test_exactly(self, claims: dict[str, Any], value: str, claim: str) -> None:
        """A value without wildcards fits itself only, and a claim that is not
        there fits nothing.
        """
        rule = Allowance("app", (ClaimCondition(claim, value),))
        self.assertTrue(rule.fits({**claims, claim: value}))
        self.assertFalse(rule.fits({**claims, claim: value + "x"}))
        self.assertFalse(rule.fits({name: said for name, said in claims.items() if name != claim}))

    @quick
    @given(
        CLAIMS,
        st.lists(
            st.sampled_from(["sub=a/*", "repository=*", "ref=x?", "x=[a-c]"]),
            min_size=1,
            unique=True,
        ),
    )
    def test_all_must_fit(self, claims: dict[str, Any], words: list[str]) -> None:
        """A rule lets in only whom each of its claims lets in by itself."""
        conditions = tuple(ClaimCondition(*word.split("=")) for word in words)
        alone = [Allowance("p", (condition,)).fits(claims) for condition in conditions]
        self.assertEqual(Allowance("p", conditions).fits(claims), all(alone))

    @quick
    @given(PLAIN, st.text(string.ascii_letters + "/-:", max_size=30))
    def test_a_firm_owner(self, owner: str, rest: str) -> None:
        """Whatever fits a rule with a wildcard has the owner that the rule says, up
        to the slash.
        """
        condition = ClaimCondition("repository", f"{owner}/*")
        self.assertTrue(condition.is_firm)
        for value in (rest, owner + rest, f"{owner}/{rest}"):
            self.assertEqual(condition.fits(value), value.startswith(f"{owner}/"))


class IssuerTests(SynchronousTestCase):
    """Sections of the configuration."""

    def test_problems(self) -> None:
        """Each bad rule is told by its number; rules need an issuer, and an issuer https, except on
        this machine.
        """
        self.assertEqual(list(issuer_problems("github", HUB, ["app repository=octo/app"])), [])
        self.assertEqual(list(issuer_problems("github", HUB, [])), [])
        self.assertEqual(list(issuer_problems("github", None, [])), [])
        found = list(issuer_problems("x", "http://hub.example", ["app", "app sub=a", "app sub"]))
        self.assertEqual([key for key, _ in found], ["url", "allow", "allow"])
        self.assertIn("https", found[0][1])
        self.assertIn("rule 1, 'app'", found[1][1])
        self.assertIn("rule 3, 'app sub'", found[2][1])
        [(key, _)] = issuer_problems("x", None, ["app sub=a"])
        self.assertEqual(key, "url")

    def test_safe(self) -> None:
        """http is for this machine only, and for no host that merely begins like it."""
        for url in (
            "https://x.example",
            "http://127.0.0.1:8000",
            "http://localhost",
            "http://[::1]:1/x",
        ):
            self.assertTrue(is_safe(url), url)
        for url in (
            "http://x.example",
            "http://127.0.0.1.x.example",
            "http://localhost.x.example",
            "ftp://127.0.0.1",
            "file:///x",
        ):
            self.assertFalse(is_safe(url), url)


class NamingTests(SynchronousTestCase):
    """What is written down."""

    @quick
    @given(st.text(max_size=400))
    def test_user(self, subject: str) -> None:
        """A workflow is called by its issuer and subject: no account's name, printable, and not
        endless.
        """
        name = publisher_of("github", subject)
        self.assertTrue(name.startswith("github:"))
        self.assertTrue(name.isprintable())
        self.assertLessEqual(len(name), LONGEST_USER)
