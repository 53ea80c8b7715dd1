"""The style of READMEs: it can be read in both themes, and touches nothing else on the
page.
"""

from __future__ import annotations

import re
from importlib.resources import files

from twisted.trial.unittest import SynchronousTestCase

from pypid.rendering.render import CLASSES

FOLDER = files("pypid.web.ui") / "assets" / "style"
DARK = "@media (prefers-color-scheme: dark)"


def style(name: str) -> str:
    """Without comments."""
    return re.sub(r"/\*.*?\*/", "", (FOLDER / name).read_text(), flags=re.DOTALL)


def colours(text: str) -> dict[str, str]:
    """The custom properties that are colours."""
    return dict(re.findall(r"(--[\w-]+):\s*(#[0-9a-f]{6})", text))


def luminance(colour: str) -> float:
    """As WCAG 2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """From 1 to 21."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


class StyleTests(SynchronousTestCase):
    """``readme.css``."""

    def test_contrast(self) -> None:
        """Each colour of code has a contrast of 4.5 on the ground of code, by day and by night; so
        have quotes.
        """
        base, readme = style("base.css"), style("readme.css")
        light, dark = (
            {**colours(base.partition(DARK)[at]), **colours(readme.partition(DARK)[at])}
            for at in (0, 2)
        )
        for theme in light, dark:
            inks = [name for name in theme if name.startswith("--code-")]
            self.assertEqual(len(inks), 7)
            for ink in (*inks, "--ink"):
                self.assertGreaterEqual(contrast(theme[ink], theme["--code"]), 4.5, (ink, theme))
            for ink, ground in (
                ("--dim", "--paper"),
                ("--ink", "--sheet"),
                ("--accent", "--sheet"),
            ):
                self.assertGreaterEqual(
                    contrast(theme[ink], theme[ground]), 4.5, (ink, ground, theme)
                )

    def test_scoped(self) -> None:
        """Each selector of a README's begins with its element."""
        selectors = re.findall(r"([^{};]+)\{", re.sub(r"@media[^{]*\{", "", style("readme.css")))
        self.assertGreater(len(selectors), 3)
        for selector in selectors:
            for each in re.sub(r"\([^)]*\)", "", selector).split(","):
                self.assertTrue(
                    each.strip() == ":root" or each.strip().startswith(".readme"), selector
                )

    def test_known(self) -> None:
        """There is a style for each class of ours in a README."""
        readme = style("readme.css")
        ours = {
            name for names in CLASSES.values() for name in names if name.startswith("readme-")
        } | {
            "readme-plain",
            "readme-note",
        }
        self.assertEqual(
            {name for name in ours if f".{name}" not in readme},
            {"readme-task"},
            "which is a character alone",
        )

    def test_small(self) -> None:
        """All of it is some kilobytes."""
        self.assertLess(len(style("readme.css")), 6000)
