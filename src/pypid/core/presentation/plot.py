"""A small plot of numbers by day, as SVG embedded in a page: styled by classes only, and all text
is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from html import escape

from attrs import frozen

MOST_DAYS, MOST_WEEKS = 100, 105
"""Longer periods are shown in weeks, at most the latest `MOST_WEEKS`."""
WIDTH, HEIGHT = 360, 110
TOP, FLOOR, BOTTOM = 16, 92, 106
"""The top of the highest bar, the base of all bars, and the line of the labels below."""
_WEEK = 7


@frozen
class PlotBar:
    """The count from `first` to `last` (the same for one day)."""

    first: date
    last: date
    count: int

    @property
    def when(self) -> str:
        """The day or the period as text."""
        return str(self.first) if self.first == self.last else f"{self.first} to {self.last}"


def gathered(counted: Iterable[tuple[date, int]], since: date, until: date) -> tuple[PlotBar, ...]:
    """Return a bar for each day from `since` to `until`, or for each week that ends with `until`,
    the oldest first.

    Days outside the period are ignored, and counts below 0 are 0; the first week may be shorter.
    Empty if `since` is later.
    """
    counts: dict[date, int] = {}
    for day, count in counted:
        counts[day] = counts.get(day, 0) + max(count, 0)
    days = (until - since).days + 1
    if days <= MOST_DAYS:
        return tuple(_bar(counts, since + timedelta(days=number), 1) for number in range(days))
    weeks = min(-(-days // _WEEK), MOST_WEEKS)
    ends = (until - timedelta(days=_WEEK * number) for number in reversed(range(weeks)))
    return tuple(_bar(counts, end, min(_WEEK, (end - since).days + 1)) for end in ends)


def _bar(counts: Mapping[date, int], last: date, days: int) -> PlotBar:
    each = [last - timedelta(days=number) for number in range(days)]
    return PlotBar(each[-1], last, sum(counts.get(day, 0) for day in each))


def bars(
    counted: Iterable[tuple[date, int]], since: date, until: date, *, title: str, name: str = "plot"
) -> str:
    """Return the plot of `Downloads.by_day` as one ``<svg class="plot">`` of well-formed XML.

    `title` names what is counted ("Downloads of spam"), and is read out with a sentence on the
    total; `name` is the prefix of the ids in it: letters, digits and dashes that begin no other id
    of the page. The style is in ``plot.css``.
    """
    shown = gathered(counted, since, until)
    highest = max((bar.count for bar in shown), default=0)
    sentence = escape(_sentence(shown, highest))
    drawn = "".join(_drawn(shown, highest))
    words = "".join(_words(shown, highest))
    name = escape(name)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'role="img" aria-labelledby="{name}-title {name}-desc"><title '
        f'id="{name}-title">{escape(_xml(title))}</title><desc '
        f'id="{name}-desc">{sentence}</desc>{drawn}<path class="plot-floor" d="M0 '
        f'{FLOOR}.5H{WIDTH}"/>{words}</svg>'
    )


def _sentence(shown: Sequence[PlotBar], highest: int) -> str:
    if not shown or not highest:
        return "None."
    total = sum(bar.count for bar in shown)
    most = next(bar for bar in shown if bar.count == highest)
    each = "day" if all(bar.first == bar.last for bar in shown) else "week"
    return (
        f"{total} from {shown[0].first} to {shown[-1].last}, at most {highest} in a {each} "
        f"({most.when})."
    )


def _drawn(shown: Sequence[PlotBar], highest: int) -> Iterable[str]:
    step = WIDTH / max(len(shown), 1)
    broad = max(step - max(step * 0.2, 0.4), 0.4)
    for number, bar in enumerate(shown):
        if bar.count:
            tall = max((FLOOR - TOP) * bar.count / highest, 1.0)
            yield (
                f'<rect class="plot-bar" x="{number * step:.2f}" y="{FLOOR - tall:.2f}" '
                f'width="{broad:.2f}" height="{tall:.2f}"><title>{bar.when}: '
                f"{bar.count}</title></rect>"
            )


def _words(shown: Sequence[PlotBar], highest: int) -> Iterable[str]:
    if not shown:
        return
    yield f'<text class="plot-word" x="0" y="{BOTTOM}">{shown[0].first}</text>'
    yield f'<text class="plot-word plot-end" x="{WIDTH}" y="{BOTTOM}">{shown[-1].last}</text>'
    if highest:
        yield f'<text class="plot-word" x="0" y="{TOP - 5}">{highest}</text>'


def _xml(text: str) -> str:
    """Return the text without characters that XML cannot contain: most control characters,
    surrogates, and two noncharacters.
    """
    return "".join(
        each
        if each in "\t\n\r"
        or (each >= " " and not "\ud800" <= each <= "\udfff" and each not in "\ufffe\uffff")
        else " "
        for each in text
    )
