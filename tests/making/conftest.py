"""The tiny task of translation, for what is made of one."""

from tests.live.translation.conftest import case, trained

__all__ = ["case", "trained"]
