"""The task of the tests of translation."""

from tests.live.translation.conftest import task, trained  # noqa: F401
