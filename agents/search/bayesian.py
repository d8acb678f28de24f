"""Bayesian optimisation by Optuna's samplers: tree-structured Parzen estimators, and a Gaussian process.

What a sampler proposes is moved into the budget before it is scored, and the sampler is told what it had proposed: like
an agent, it learns what the budget rule makes of its proposals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agents.search.method import SearchMethod
from compress_gym.problem import Problem
from compress_gym.support.errors import missing_extra

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


def tpe(problem: Problem, rng: np.random.Generator) -> SearchMethod:
    """Yields what the multivariate tree-structured Parzen estimator proposes (Bergstra et al. 2011)."""
    optuna = _optuna()
    return _asked(problem, optuna.samplers.TPESampler(seed=_seed(rng), multivariate=True))


def gaussian_process(problem: Problem, rng: np.random.Generator) -> SearchMethod:
    """Yields what a Gaussian process with log expected improvement proposes; minutes beyond a hundred evaluations."""
    optuna = _optuna()
    return _asked(problem, optuna.samplers.GPSampler(seed=_seed(rng)))


def _asked(problem: Problem, sampler: BaseSampler) -> SearchMethod:
    optuna = _optuna()
    study = optuna.create_study(direction="maximize", sampler=sampler)
    space = {
        decision.name: optuna.distributions.IntDistribution(0, len(decision.values) - 1)
        for decision in problem.decisions.decisions
    }
    while True:
        trial = study.ask(space)
        wanted = np.array([trial.params[name] for name in space], dtype=np.int64)
        (reward,) = yield problem.within_budget(wanted)
        study.tell(trial, float(reward))


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**32))


def _optuna():  # type: ignore[no-untyped-def]
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise missing_extra("optuna", "agents", "Bayesian optimisation") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
