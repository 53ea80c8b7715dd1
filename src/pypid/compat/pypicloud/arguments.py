"""The arguments of pypicloud's API: the fields of a form, or the keys of a JSON object, whichever a
request carries.

Unlike pypicloud, arguments in the query are not accepted: passwords in a URL end up in logs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
from msgspec.structs import fields

from pypid.core.errors import BadRequest, shortened
from pypid.core.model import Checksum, Digests
from pypid.web.http.request import Request
from pypid.web.http.request_body import read_small
from pypid.web.http.responses import header_of
from pypid.web.http.small_responses import LARGEST
from pypid.web.http.upload_form import Limits, read_form

S = TypeVar("S", bound=msgspec.Struct)

LIMITS = Limits(content=0, text=LARGEST, total=LARGEST, fields=50, urlencoded=LARGEST)
_FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})


class _Nowhere:
    """The spool for a form's file: none of these forms has one."""

    def want(self, checksums: Iterable[Checksum]) -> None:
        """Do nothing: no file comes."""

    async def write(self, data: bytes) -> None:
        raise BadRequest("This form has a part without a name.")

    async def finish(self) -> Digests:
        return Digests("", None, None, 0)


async def arguments(request: Request, kind: type[S]) -> S:
    """Return the arguments. Raises `TooLarge`, and `BadRequest` with the name of a missing or
    unknown one.
    """
    content_type = header_of(request, "content-type") or ""
    if content_type.partition(";")[0].strip().lower() in _FORMS:
        form = await read_form(request.body, content_type, limits=LIMITS, spool=_Nowhere(), part="")
        received: Any = {name: values[-1] for name, values in form.fields.items()}
    else:
        received = _object(await read_small(request.body, LARGEST))
    known = {field.encode_name for field in fields(kind)}
    if unknown := sorted(received.keys() - known):
        raise BadRequest(
            f"Unknown argument {shortened(unknown[0])!r}; known: {', '.join(sorted(known))}"
        )
    for field in fields(kind):
        if field.required and received.get(field.encode_name) is None:
            raise BadRequest(f"Missing argument {field.encode_name!r}")
    try:
        return msgspec.convert(received, kind, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequest(f"The arguments are not what is expected here: {error}") from None


def _object(data: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(data or b"{}", type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest(
            "Send the arguments as a form (application/x-www-form-urlencoded), or as a JSON object."
        ) from None
