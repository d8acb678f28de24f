"""The folder of a user: tasks and devices of one's own lie there, never in the installed package."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_data_path


def home() -> Path:
    """Returns `$COMPRESS_GYM_HOME`, else the user's data folder."""
    if given := os.environ.get("COMPRESS_GYM_HOME"):
        return Path(given).expanduser()
    return user_data_path("compress_gym")
