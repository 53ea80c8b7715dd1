"""The core of the package index: gather data, apply the policy, act.

`Index` is what the web app and the commands call. It depends on the ports (`pypid.ports`), never on
a backend; every decision is made by `core.policy`. Changes are made by the subpackages `local`,
`store` and `upstream`.
"""

from pypid.index.index import Index

__all__ = ["Index"]
