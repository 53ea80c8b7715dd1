"""Which upstreams are asked for a name."""

from twisted.trial.unittest import SynchronousTestCase

from pypid.core.packaging.names import project_name
from pypid.core.upstream_choice import PUBLIC, UpstreamChoice

ONLY = {
    "cu126": ("torch", "nvidia-*"),
    "cu128": ("torch", "torch*", "nvidia-*"),
    "partner": ("partner-*",),
}


def asked(choice: UpstreamChoice, *names: str) -> list[str]:
    """The upstreams of each name, as text."""
    return [" ".join(choice.upstreams_of(project_name(name))) for name in names]


class UpstreamChoiceTests(SynchronousTestCase):
    def test_all(self) -> None:
        """An index without a choice of its own asks all that match, in the order of the sections;
        for other names the public index.
        """
        choice = UpstreamChoice.of(None, ONLY)
        self.assertEqual(
            asked(choice, "torch", "torchvision", "NVIDIA_cublas", "partner-x", "requests"),
            ["cu126 cu128", "cu128", "cu126 cu128", "partner", "public"],
        )

    def test_order(self) -> None:
        """The order of the choice counts, and an upstream that is not chosen is not asked."""
        choice = UpstreamChoice.of(("cu128", PUBLIC, "cu126"), ONLY)
        self.assertEqual(
            asked(choice, "torch", "partner-x", "requests"), ["cu128 cu126", "public", "public"]
        )

    def test_without_public(self) -> None:
        """Without `public` other names are not requested at all."""
        choice = UpstreamChoice.of(("partner",), ONLY)
        self.assertEqual(asked(choice, "partner-x", "torch", "requests"), ["partner", "", ""])
        self.assertEqual(asked(UpstreamChoice.of((), ONLY), "partner-x"), [""])

    def test_upstream_that_was_removed(self) -> None:
        """Any name may be one of its: none goes to the public index in its place."""
        choice = UpstreamChoice.of(("gone", "partner", PUBLIC), ONLY)
        self.assertEqual(asked(choice, "partner-x", "requests"), ["gone partner", "gone"])

    def test_no_named_upstreams(self) -> None:
        """Without sections there is the public index."""
        self.assertEqual(asked(UpstreamChoice.of(None), "torch"), ["public"])
        self.assertEqual(UpstreamChoice.of(None), UpstreamChoice())
