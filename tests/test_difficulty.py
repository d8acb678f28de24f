from __future__ import annotations

import json

import pytest

from benchmarks.difficulty import difficulty
from compress_gym.kinds.channel_prune import channel_prune_problem
from compress_gym.tasks import get_task, list_tasks


@pytest.mark.parametrize("name", [name for name in list_tasks() if get_task(name).best_signal() == "measured"])
def test_the_card_says_what_is_so(name):
    card = json.loads((get_task(name).folder / "difficulty.json").read_text())
    problem = channel_prune_problem(name, reward="accuracy")
    for row in card["rows"]:
        facts = difficulty(problem.replace(budget=row["budget"]), searched=False)
        assert {key: row[key] for key in facts} == facts
