"""The configuration of an index that is restored from a backup, and that of a copy."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from pypid.core.errors import CannotStart

if TYPE_CHECKING:
    from pypid.core.configuration.parse import Config
    from pypid.jobs.backup.backup_reader import BackupFile


def existing_or_new(file: Path, backup: BackupFile) -> Path:
    """Return the configuration file of the target; write that of the backup if there is none.
    Raises `CannotStart`.
    """
    from pypid.core.configuration.lookup import is_built_in
    from pypid.jobs.backup.records import put

    text = backup.configuration()
    if text is None:
        return file
    if file.exists() and not is_built_in(file):
        if file.read_bytes() != text:
            print(
                f"pypid: {file} differs from the configuration of the backup, and was not changed",
                file=sys.stderr,
            )
        return file
    if is_built_in(file):
        raise CannotStart(
            "The backup contains a configuration, and no configuration file was found here. Name "
            "the file to write it to: --config /etc/pypid/pypid.ini. (Or --into FOLDER.)"
        )
    try:
        put(file.absolute().parent, file.name, text)
    except OSError as error:
        raise CannotStart(f"{file} cannot be written: {error.strerror}.") from None
    print(f"pypid: the configuration of the backup was written to {file}", file=sys.stderr)
    return file


def copy_config(
    folder: Path,
    backup: BackupFile,
    force: bool,
    values: Mapping[tuple[str, str], str | None] = MappingProxyType({}),
) -> tuple[Path, Config]:
    """Write the configuration of a copy whose data are all below `folder`, with these values.
    Raises `CannotStart`.
    """
    from pypid.cli.restored_state import is_unfinished
    from pypid.core.configuration.parse import parse
    from pypid.jobs.backup.records import put

    repeated = is_unfinished(folder / "state")
    if folder.is_dir() and any(folder.iterdir()) and not (force or repeated):
        raise CannotStart(f"{folder} is not empty. Name another folder, or use --force.")
    text = copied_configuration(backup, values)
    file = folder / "pypid.ini"
    config = parse(text, filename=str(file), environ={}, read_file=_read, cwd=str(folder))
    try:
        put(folder, file.name, text)
    except OSError as error:
        raise CannotStart(f"{folder} cannot be written: {error.strerror}.") from None
    return file, config


def copied_configuration(
    backup: BackupFile, changes: Mapping[tuple[str, str], str | None]
) -> bytes:
    """Return the configuration of the backup, for a copy with its data in ``state`` and
    ``packages`` beside it. `changes`: further values by section and key; None removes a key.
    """
    from pypid.core.configuration.ini import read, with_values

    text = configuration_of(backup)
    dropped = [
        (name, key)
        for name, section in read(text, "").sections.items()
        for key in section.entries
        if name in ("catalog", "cache") or (name == "storage" and key != "layout")
    ]
    values: dict[tuple[str, str], str | None] = {
        **dict.fromkeys(dropped),
        ("server", "state"): "state",
        ("server", "workers"): None,
        ("storage", "backend"): "files",
        ("storage", "path"): "packages",
        ("access", "url"): None,
    }
    return with_values(text, {**values, **changes}).encode()


def configuration_of(backup: BackupFile) -> str:
    """Return the configuration of the backup; that of a pypicloud as one of pypid."""
    from pypid.core.configuration.ini import read
    from pypid.core.pypicloud.translation import translate
    from pypid.core.pypicloud.writing import written

    text = (backup.configuration() or b"").decode()
    if "app:main" in read(text, "").sections:
        name = backup.header().configuration
        return written(translate(text.encode(), filename=name, environ={}, cwd="/"), name)
    return text


def _read(name: str) -> str:
    return Path(name).read_text()
