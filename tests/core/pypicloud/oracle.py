"""pypicloud's own rules (1.3.12, access/base.py and access/config.py), written down again to
compare with: who may do what.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import frozen

HASH = "$5$rounds=1000$saltsalt$aGFzaGhhc2g"
"""Good enough to be taken for a hash."""
VERIFIABLE = ("$6$", "$5$", "$pbkdf2-sha512$", "$pbkdf2-sha256$", "$2a$", "$2b$", "$2y$", "$argon2")


def normalized(name: str) -> str:
    """As pypicloud's `normalize_name` does since 0.4."""
    return re.sub(r"[-_.]+", "-", name).lower()


@frozen
class Oracle:
    """The settings of an app."""

    settings: Mapping[str, str]

    def words(self, key: str, default: str) -> list[str]:
        return self.settings.get(key, default).split()

    def users(self) -> set[str]:
        return {
            k[5:]
            for k, v in self.settings.items()
            if k.startswith("user.") and v.startswith(VERIFIABLE)
        }

    def groups(self, user: str) -> set[str]:
        return {
            k[6:] for k, v in self.settings.items() if k.startswith("group.") and user in v.split()
        }

    def is_admin(self, user: str | None) -> bool:
        return user is not None and user in self.words("auth.admins", "")

    def principals(self, user: str | None) -> set[str]:
        if user is None:
            return {"system.Everyone"}
        return {
            f"user:{user}",
            "system.Everyone",
            "system.Authenticated",
            *(f"group:{g}" for g in self.groups(user)),
        }

    @staticmethod
    def principal(group: str) -> str:
        if group in ("system.Everyone", "system.Authenticated") or group.startswith("group:"):
            return group
        return {"everyone": "system.Everyone", "authenticated": "system.Authenticated"}.get(
            group, f"group:{group}"
        )

    @staticmethod
    def can(value: str) -> set[str]:
        if len(value) > 2:
            return set(value.split())
        return {word for letter, word in (("r", "read"), ("w", "write")) if letter in value}

    def allowed(self, package: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for key, value in self.settings.items():
            pieces = key.split(".")
            if (
                len(pieces) == 4
                and pieces[0] == "package"
                and pieces[1] == package
                and pieces[2] in ("user", "group")
            ):
                principal = (
                    f"user:{pieces[3]}" if pieces[2] == "user" else self.principal(pieces[3])
                )
                found.setdefault(principal, set()).update(self.can(value))
        if not found:
            for key, default, can in (
                ("pypi.default_read", "authenticated", "read"),
                ("pypi.default_write", "", "write"),
            ):
                for group in self.words(key, default):
                    found.setdefault(self.principal(group), set()).add(can)
        return found

    def may(self, user: str | None, package: str, can: str) -> bool:
        """Whether they have the permission; `package` is a normalised name."""
        if self.is_admin(user):
            return True
        allowed = self.allowed(package)
        return any(can in allowed.get(principal, ()) for principal in self.principals(user))

    def listed(self, user: str | None, groups: list[str]) -> bool:
        """`in_any_group`."""
        for group in groups:
            if group in ("everyone", "system.Everyone"):
                return True
            if user is not None and (
                group in ("authenticated", "system.Authenticated")
                or (group == "admin" and self.is_admin(user))
                or group in self.groups(user)
            ):
                return True
        return False

    def may_overwrite(self, user: str | None, package: str) -> bool:
        return self.listed(user, self._changes("overwrite", "")) and self.may(
            user, package, "write"
        )

    def may_delete(self, user: str | None, package: str) -> bool:
        """Administrators may, here as everywhere."""
        allowed = self.listed(user, self._changes("delete", "authenticated")) and self.may(
            user, package, "write"
        )
        return allowed or self.is_admin(user)

    def may_fetch(self, user: str | None, package: str) -> bool:
        if self.is_admin(user):
            return True
        if not self.may(user, package, "read"):
            return False
        return self.settings.get("pypi.fallback") not in ("cache", "mirror") or self.listed(
            user, self.words("pypi.cache_update", "authenticated")
        )

    def _changes(self, what: str, default: str) -> list[str]:
        key = f"pypi.allow_{what}"
        if f"{key}_groups" in self.settings or key not in self.settings:
            return self.words(f"{key}_groups", default)
        return ["authenticated"] if self.settings[key] else []
