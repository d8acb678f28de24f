"""A task whose SuperTransformer is trained for seconds, once for all tests of translation."""

import pytest

from compress_gym.kinds import get_case
from compress_gym.tasks import register_task, registry
from tests.live.translation.small import write_tiny_translation


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """The tiny task, registered by its name, as shipped ones are."""
    task = register_task(write_tiny_translation(tmp_path_factory.mktemp("home") / "tasks").folder)
    yield get_case("TransformerNAS-v0", task)
    del registry._REGISTERED[task.name]


@pytest.fixture(scope="module")
def trained(case):
    return case.task.trained_module()
