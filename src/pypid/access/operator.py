"""Who comes through the control socket."""

from __future__ import annotations

from attrs import frozen

from pypid.core.errors import Unauthenticated
from pypid.core.permissions import Credential, Identity
from pypid.ports import Access


@frozen
class Operator:
    """Access for the control socket: whoever can open it (mode 0600, in a folder of mode 0700) is
    the operator.
    """

    async def identify(self, credential: Credential) -> Identity:
        """An admin, under the name of the account that runs the command."""
        if not credential.user:
            raise Unauthenticated()
        return Identity(credential.user, admin=True)


_: type[Access] = Operator
