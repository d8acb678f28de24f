"""Files of a task that the package does not hold, because their data's terms are narrower than its licence.

They are brought into the user's folder by `compress-gym data fetch TASK-weights`, checked against the cards that the
package does hold.
"""

from __future__ import annotations

import os
from pathlib import Path

from compress_gym.data.archives import Archive, bring, check_archive, is_complete
from compress_gym.support.home import home

# Where the folder of each task's files is offered, such as the folder `ASSETS_IN_CHECKOUT` of a release of the
# repository; `None` until one is published.
ADDRESS: str | None = None
ADDRESS_VARIABLE = "COMPRESS_GYM_WEIGHTS"
ASSETS_IN_CHECKOUT = Path("compress_gym", "tasks", "assets")
_ENDING = "-weights"


def fetch_name(task: str) -> str:
    """Returns the name under which a task's files are fetched."""
    return f"{task}{_ENDING}"


def fetched_folder(task: str) -> Path:
    """Returns where a task's files lie once they are fetched."""
    return home() / "fetched" / task


def address() -> str | None:
    """Returns where the files are offered: `$COMPRESS_GYM_WEIGHTS`, else where the project publishes them."""
    return os.environ.get(ADDRESS_VARIABLE) or ADDRESS


def fetch_command(task: str) -> str:
    """Returns the command that brings a task's files, for a message."""
    command = f"compress-gym data fetch {fetch_name(task)}"
    return command if address() else f"{command} --from CHECKOUT (the folder of a checkout of compress_gym)"


def fetch_files(task: str, folder: Path, sums: dict[str, str], terms: str, source: Path | None = None) -> Path:
    """Brings a task's files into the user's folder: downloads them unless they are there, or takes them from a folder.

    Args:
        task: The task's name.
        folder: The task's own folder; in a checkout it has the files already.
        sums: SHA-256 of each file by name, from their cards.
        terms: What users may do with them.
        source: A checkout, the task's folder in one, or a folder that holds that one; `None` downloads.

    Returns:
        The folder that has the files, every one of them checked.

    Raises:
        OSError: They cannot be downloaded.
        ValueError: A file is missing or altered, or no address is known to download them from.
    """
    name, given, target = fetch_name(task), address(), fetched_folder(task)
    url = f"{(given or '').rstrip('/')}/{task}/"
    archive = Archive(url=url, md5="", folder=task, files=sums, terms=terms)
    if source is not None:
        found = _holding(task, source)
        check_archive(archive, found, "--from must name a checkout of compress_gym, of this version")
        return bring(name, archive, target.parent, found)
    if all((folder / file).exists() for file in sums):
        check_archive(archive, folder, f"{folder} was changed; take the released files")
        return folder
    if given is None and not is_complete(archive, target):
        raise ValueError(
            f"{name}: they are not published yet, so there is no address to download them from; take them from a "
            f"checkout of compress_gym: compress-gym data fetch {name} --from CHECKOUT; or name an address that offers "
            f"them: ${ADDRESS_VARIABLE}"
        )
    return bring(name, archive, target.parent)


def _holding(task: str, source: Path) -> Path:
    """Returns which folder of a source has a task's files."""
    return next((f for f in (source / ASSETS_IN_CHECKOUT / task, source / task) if f.is_dir()), source)
