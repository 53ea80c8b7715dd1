"""Authentication on the control socket."""

from __future__ import annotations

from attrs import frozen

from pypid.core.errors import Unauthenticated
from pypid.core.permissions import Credential, Identity
from pypid.ports import Access


@frozen
class Operator:
    """The `Access` of the control socket: every process that can open it (mode 0600, in a folder of
    mode 0700) is the operator.
    """

    async def identify(self, credential: Credential) -> Identity:
        """Return an admin, under the name of the account that runs the command. Raises
        `Unauthenticated` without a name.
        """
        if not credential.user:
            raise Unauthenticated()
        return Identity(credential.user, admin=True)


_: type[Access] = Operator
