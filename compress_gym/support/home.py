"""Where a user's own tasks and devices lie: nothing is ever written into the installed package."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_data_path

HOME_VARIABLE = "COMPRESS_GYM_HOME"


def home() -> Path:
    """Returns the user's folder: `$COMPRESS_GYM_HOME`, else the user's data folder."""
    given = os.environ.get(HOME_VARIABLE)
    return Path(given).expanduser() if given else user_data_path("compress_gym")
