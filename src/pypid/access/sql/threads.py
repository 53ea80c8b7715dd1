"""As `pypid.databases.threads`."""

from pypid.databases.threads import Threads as Threads
