"""The rules about what is visible and what may come in."""

from datetime import UTC, datetime

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import ProjectClosed
from pypid.core.model import Digests, File, Presence, Project, Status, Summary, Upload
from pypid.core.names import parse_filename, project_name
from pypid.core.policy import Policy, Serve, admits, asks_upstream, delivery, is_listed, view

SPAM = project_name("spam")
NOW = datetime(2026, 1, 2, tzinfo=UTC)
FILE = File(project=SPAM, filename="spam-1.0.tar.gz", version="1.0", sha256="ab" * 32, size=1, key="spam/spam-1.0.tar.gz")
OURS = st.sampled_from(Presence) | st.builds(
    Project, name=st.just(SPAM), files=st.sampled_from([(), (FILE,)]), status=st.sampled_from(Status)
)
UPLOAD = Upload(
    distribution=parse_filename("spam-2.0.tar.gz"), version="2.0", digests=Digests("ab" * 32, "cd" * 16, "ef" * 32, 1)
)


class UpstreamTests(SynchronousTestCase):
    """What may be told to another index."""

    @settings(max_examples=50, deadline=None, database=None)
    @given(st.booleans(), OURS)
    def test_names(self, offline: bool, ours: Project | Presence) -> None:
        """Only a name that is proven not to be ours goes upstream, and none while pypid is offline."""
        asked = asks_upstream(Policy(offline=offline), SPAM, ours)
        self.assertEqual(asked, not offline and ours is Presence.ABSENT)


class ViewTests(SynchronousTestCase):
    """What a client may see."""

    def test_statuses(self) -> None:
        """A quarantined project offers no files and is not listed (PEP 792); all others offer all theirs and are."""
        for status in Status:
            project = Project(name=SPAM, files=(FILE,), status=status, status_reason="because")
            seen = view(Policy(), project, None, NOW)
            hidden = status is Status.QUARANTINED
            self.assertEqual(seen, evolve(project, files=()) if hidden else project)
            self.assertEqual(is_listed(Summary(SPAM, 1, status)), not hidden)

    def test_delivery(self) -> None:
        """A file of ours is served."""
        self.assertEqual(delivery(Policy(), FILE), Serve(FILE))


class AdmitsTests(SynchronousTestCase):
    """What may be published."""

    def test_statuses(self) -> None:
        """Archived and quarantined projects refuse uploads, with advice; new, active and deprecated ones take them."""
        for presence in Presence:
            admits(Policy(), UPLOAD, presence)
        for status in Status:
            project = Project(name=SPAM, status=status)
            if status in (Status.ARCHIVED, Status.QUARANTINED):
                error = self.assertRaises(ProjectClosed, admits, Policy(), UPLOAD, project)
                self.assertIn(status.value, str(error))
                self.assertIn("administrator", str(error))
            else:
                admits(Policy(), UPLOAD, project)
