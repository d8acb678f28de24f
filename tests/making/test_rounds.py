"""The profiler's loop, on visits that take no time."""

from __future__ import annotations

import numpy as np
import pytest

from compress_gym.making.profile.rounds import measure, measured, missing_rounds


class Killed(BaseException):
    pass


def visits(log, count=7, last=None):
    """What is visited tells the log; after `last` visits, the process is killed."""

    def visit(number):
        if last is not None and len(log) >= last:
            raise Killed
        log.append(number)
        return np.array([[number, len(log)]], dtype=np.float64)

    return [lambda number=number: visit(number) for number in range(count)]


def test_everything_is_visited_once_a_round_in_orders_of_their_own(tmp_path):
    log = []
    measure(visits(log), 3, 0, tmp_path)
    orders = [log[n : n + 7] for n in (0, 7, 14)]
    assert all(sorted(order) == list(range(7)) for order in orders) and len(set(map(tuple, orders))) == 3
    found = measured(tmp_path, 3, axis=1)
    assert found.shape == (7, 3, 2) and (found[..., 0] == np.arange(7)[:, None]).all()
    when = [[order.index(number) + 7 * n + 1 for n, order in enumerate(orders)] for number in range(7)]
    assert np.array_equal(found[..., 1], when)


@pytest.mark.parametrize("last", [3, 7, 16])
def test_a_killed_profile_goes_on_with_the_round_it_was_at(tmp_path, last):
    whole, before, after = [], [], []
    measure(visits(whole), 3, 5, tmp_path / "whole")
    with pytest.raises(Killed):
        measure(visits(before, last=last), 3, 5, tmp_path / "killed")
    done = last // 7
    assert missing_rounds(tmp_path / "killed", 3) == 3 - done
    measure(visits(after), 3, 5, tmp_path / "killed")
    assert whole[: 7 * done] + after == whole and missing_rounds(tmp_path / "killed", 3) == 0
    kept = measured(tmp_path / "killed", 3, axis=1)[:, :done]
    assert np.array_equal(kept, measured(tmp_path / "whole", 3, axis=1)[:, :done])
