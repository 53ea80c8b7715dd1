"""The middle: gather, decide, act; nothing else.

`Index` is what the web and the commands talk to. It knows the sockets, never the backends; every
decision is asked of `core.policy`. What changes something lives beside it: `publishing`,
`managing`, `reconciling`, `adopting`.
"""

from pypid.index.index import Index

__all__ = ["Index"]
