"""Form fields and query parameters as text. The guard reads forms before it identifies the
client.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import parse_qsl

from attrs import field, frozen
from twisted.web.http import Request

from pypid.core.errors import BadRequest
from pypid.ports import Body
from pypid.web.http.request_body import read_small

LARGEST = 64 << 10
"""Maximum size in bytes of a form without a file."""
MOST = 500
"""Maximum number of fields of a form."""
PARAMETERS, LONGEST = 50, 300
"""Limits on the query: number of parameters, and characters of one."""
KIND = "application/x-www-form-urlencoded"
NO_FORM = f"This address takes a form ({KIND}), as its page sends it. Programs use the JSON API."


@frozen
class Fields:
    """The fields of a form, each name with its texts in order; not in the repr, since passwords are
    among them.
    """

    texts: Mapping[str, Sequence[str]] = field(factory=dict, repr=False)

    def text(self, name: str, default: str = "") -> str:
        """Return the last text of this name."""
        return self.all(name)[-1] if self.all(name) else default

    def all(self, name: str) -> Sequence[str]:
        """Return all texts of this name: of ticked boxes, of a list of which several are chosen."""
        return self.texts.get(name, ())

    def flag(self, name: str) -> bool:
        """Return whether a box is ticked: browsers send nothing for one that is not."""
        return bool(self.all(name))


def is_form(content_type: str) -> bool:
    """Return whether a body of this type is a form that `read_fields` reads."""
    return content_type.partition(";")[0].strip().lower() == KIND


async def read_fields(body: Body) -> Fields:
    """Return the form in the body (WHATWG URL, 5: ``application/x-www-form-urlencoded``). Raises
    `BadRequest`, `TooLarge`.
    """
    data = await read_small(body, LARGEST)
    try:
        pairs = parse_qsl(
            data.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST
        )
    except ValueError:  # also for bytes that are not UTF-8
        raise BadRequest(
            f"The form cannot be read: it is text in UTF-8, %-encoded, of at most {MOST} fields."
        ) from None
    return _fields_of((name, value.replace("\r\n", "\n")) for name, value in pairs)


def query_fields(request: Request) -> Fields:
    """Return the query parameters. Values that are too long or not printable are ignored."""
    query = request.uri.partition(b"?")[2].decode("latin-1")
    try:
        pairs = parse_qsl(query, max_num_fields=PARAMETERS)
    except ValueError:
        return Fields()
    return _fields_of(
        (name, text) for name, text in pairs if len(text) <= LONGEST and text.isprintable()
    )


def _fields_of(pairs: Iterable[tuple[str, str]]) -> Fields:
    texts: dict[str, list[str]] = {}
    for name, text in pairs:
        texts.setdefault(name, []).append(text)
    return Fields(texts)
