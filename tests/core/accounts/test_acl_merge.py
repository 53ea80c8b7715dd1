"""What is reported of a merge of pypicloud's users into existing accounts."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pypid.core.accounts.acl_merge import MOST_NAMED, entered, grown


class MembersTests(SynchronousTestCase):
    """Members of a group in one line."""

    def test_members(self) -> None:
        """One, several, more than fit, and none have a sentence of their own each."""
        many = [f"user-{number:02}" for number in range(MOST_NAMED + 3)]
        for members, begins in (
            (["ada"], "ada is in the group 'g'"),
            (["bob", "ada"], "ada bob are in the group 'g'"),
            (many, f"{' '.join(many[:MOST_NAMED])} and 3 more are in the group 'g'"),
            ([], "no users are in the group 'g'"),
        ):
            for oddity in (grown("g", members), entered("g", members)):
                self.assertTrue(oddity.text.startswith(begins), oddity.text)
                self.assertTrue(oddity.wider)
