from __future__ import annotations

import json

import pytest

from benchmarks.difficulty import difficulty
from compress_gym.kinds import get_case, scored_tasks

MEASURED = [name for name, signal in scored_tasks("ChannelPrune-v0").items() if signal == "measured"]


@pytest.mark.parametrize("name", MEASURED)
def test_the_card_says_what_is_so(name):
    case = get_case("ChannelPrune-v0", name)
    card, problem = json.loads((case.task.folder / "difficulty.json").read_text()), case.problem(reward="accuracy")
    for row in card["rows"]:
        facts = difficulty(problem.replace(budget=row["budget"]), searched=False)
        assert {key: row[key] for key in facts} == facts
