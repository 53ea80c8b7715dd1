"""The check at start that Twisted calls what the channel overrides."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import HTTPChannel

from pypid.core.errors import CannotStart
from pypid.flow.coroutines import TESTED
from pypid.web.http import channel_check
from pypid.web.http.channel import Channel
from pypid.web.http.channel_check import check_framing


class StartCheckTests(SynchronousTestCase):
    """What pypid starts with, and what not."""

    def test_installed(self) -> None:
        """With the installed Twisted pypid starts."""
        check_framing()

    def refused(self) -> str:
        """Why pypid does not start."""
        return self.assertRaises(CannotStart, check_framing).text()

    def test_hooks_not_called(self) -> None:
        """It does not start if Twisted does not call one of the hooks with a framing check."""
        for hook, what in (
            ("_maybeChooseTransferDecoder", "Transfer-Encoding: identity"),
            ("lineReceived", "a folded header field"),
            ("_respondToBadRequestAndDisconnect", "two Content-Lengths"),
        ):
            own = getattr(Channel, hook)
            self.patch(Channel, hook, getattr(HTTPChannel, hook))
            if hook != "_respondToBadRequestAndDisconnect":
                self.assertIn(f"a request with {what} is not refused", self.refused())
            self.patch(Channel, hook, own)

    def test_missing_name(self) -> None:
        """It does not start if a name that the channel needs is missing; the error says what to
        install.
        """
        self.patch(channel_check, "PRIVATE_NAMES", ("_of_tomorrow", "_path"))
        first, last = TESTED["Twisted"]
        self.assertEqual(
            self.refused(),
            "The installed Twisted cannot be used: its HTTP channel has no _of_tomorrow. "
            f"Install Twisted {first} to {last}.",
        )
