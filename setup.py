"""Gives the package index the README with absolute links: relative ones lead nowhere there.

Everything else about the package is in `pyproject.toml`.
"""

import os
import re
from pathlib import Path

from setuptools import setup

# Where the files of the repository can be read, ending in a slash; unset until the repository is published.
ADDRESS = os.environ.get("COMPRESS_GYM_ADDRESS", "")


def with_absolute_links(text: str, address: str) -> str:
    """Puts an address before every link and picture that names a file of the repository."""
    return re.sub(r"(\]\()(?!https?://|#)([^)]+\))", rf"\g<1>{address}\2", text)


setup(
    long_description=with_absolute_links((Path(__file__).parent / "README.md").read_text("utf-8"), ADDRESS),
    long_description_content_type="text/markdown",
)
