"""Searches in the language of SQLite's FTS5: the rules of `core.search.ranking` as queries of an
index of words.

Words are cut by pypid's rules, and not by SQLite, whose Unicode differs: its tokenizer ``ascii``
leaves all letters beyond ASCII as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from pypid.core.search.ranking import SHORT, Card, SearchQuery

COLUMNS = ("name", "starts", "insides", "keywords", "summary", "facts")
TABLE = (
    f"CREATE VIRTUAL TABLE words USING fts5({', '.join(COLUMNS)}, "
    "tokenize=\"ascii tokenchars '-'\", detail=column, columnsize=0, prefix='1 2 3 4 5 6')"
)
WORD, INSIDE = "name starts", "name starts insides"
ANY_PYTHON = "-p-any"


def words(card: Card) -> tuple[str, ...]:
    """Return the texts of a card for `COLUMNS`."""
    texts = (card.starts, card.insides, card.keyword_words, card.summary_words, _facts(card))
    return (card.name, *map(" ".join, texts))


def _facts(card: Card) -> Sequence[str]:
    """Return the tokens for filters: no typed word begins as these do."""
    pythons = [ANY_PYTHON] if card.pythons is None else map(_python, sorted(card.pythons))
    licenses = (f"-l-{word}" for word in card.license_words)
    return [
        "-s-ours" if card.ours else "-s-theirs",
        *pythons,
        *licenses,
        *map(_classifier, card.branches),
    ]


def _python(version: str) -> str:
    return f"-p-{version.replace('.', '-')}"


def _classifier(text: str) -> str:
    return f"-c-{blake2b(text.encode(errors='replace'), digest_size=8).hexdigest()}"


def filters(query: SearchQuery) -> str | None:
    """Return an expression for the query's filters; None if there are none."""
    found = []
    if query.ours is not None:
        found.append(_in("facts", "-s-ours" if query.ours else "-s-theirs"))
    if query.python is not None:
        found.append(f"({_in('facts', ANY_PYTHON)} OR {_in('facts', _python(query.python))})")
    found += [_in("facts", f"-l-{word}", begins=len(word) >= SHORT) for word in query.license]
    if query.classifier:
        found.append(_in("facts", _classifier(query.classifier)))
    return " AND ".join(found) or None


def tiers(query: SearchQuery) -> tuple[str, ...]:
    """Return for each `Tier`, the best first, what is found there and in those before. The query
    has words.
    """
    name = query.name
    squashed = [] if len(query.words) == 1 else [_in("starts", query.squashed, begins=True)]

    def found(columns: str, whole: str = "") -> str:
        return _or(*squashed, _each(query, columns, whole))

    exact, beginning = _in("name", name), _in("name", name, begins=True)
    keyword, anywhere = (
        found(f"{INSIDE} keywords", "keywords"),
        found(f"{INSIDE} keywords summary", "keywords summary"),
    )
    return exact, beginning, found(WORD), found(INSIDE), keyword, anywhere


def ranks(query: SearchQuery) -> tuple[str, ...]:
    """Return the expressions of `ranking.rank`, each with all that those before it find.

    "Not upstream" is asked rather than "local": an index holds far fewer upstream projects, and an
    expression costs what its lists of projects are long.
    """
    exact, *others = tiers(query)
    upstream = _in("facts", "-s-theirs")
    local = [_or(exact, without(each, upstream)) for each in others]
    return exact, *local, *(_or(local[-1], each) for each in others)


def both(one: str, other: str | None) -> str:
    """Return what matches both expressions."""
    return one if other is None else f"({other}) AND ({one})"


def without(one: str, other: str | None) -> str:
    """Return what matches `one` and not `other`."""
    return one if other is None else f"({one}) NOT ({other})"


def _each(query: SearchQuery, columns: str, whole: str) -> str:
    """Match all words: each begins something in `columns`; a short one something of `WORD`, or is
    all of something in `whole`.
    """
    return " AND ".join(f"({_one(word, columns, whole)})" for word in dict.fromkeys(query.words))


def _one(word: str, columns: str, whole: str) -> str:
    if len(word) >= SHORT:
        return _in(columns, word, begins=True)
    return _or(_in(WORD, word, begins=True), *([_in(whole, word)] if whole else []))


def _or(*terms: str) -> str:
    return " OR ".join(f"({part})" for part in terms) if len(terms) > 1 else terms[0]


def _in(columns: str, token: str, *, begins: bool = False) -> str:
    """Match a token. Tokens are letters, digits and dashes: there is nothing in them to escape."""
    return f'{{{columns}}} : "{token}"{"*" if begins else ""}'
