"""Tunes an algorithm's hyper-parameters with Optuna: `python -m agents.tune --algo ddpg --trials 30`.

A trial trains on each of `agents.synthetic`'s problems, which no benchmark reports, with several draws of losses, and
is worth the mean normalised score of its best strategies: 0 is the uniform strategy, 1 what evolution finds in
`REFERENCE_EVALUATIONS`. All trials have the same draws: draws differ more than settings do. A trial that is below the
median of the others after a draw ends there. The first one has the present settings, and the best one is compared with
it on draws that no trial had. Killed, the same command goes on.
"""

from __future__ import annotations

import csv
import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from agents.hyperparams import read_hyperparameters
from agents.learners import action_type, build, train
from agents.runs import Run
from agents.search import search
from agents.synthetic import TASKS, invented_problem
from compress_gym.envs.compression import CompressionEnv
from compress_gym.support.cards import write_atomically
from compress_gym.support.commands import run_command
from compress_gym.support.errors import missing_extra, unknown_name

if TYPE_CHECKING:
    import optuna

REFERENCE_EVALUATIONS = 4000
# Draws of losses that every trial trains on, and those on which its settings are then compared with the present ones.
DRAWS, HELD_OUT = (0, 1, 2), (3, 4, 5, 6, 7)
# Trials that are never ended early.
FULL_TRIALS = 4


@dataclass(frozen=True)
class Range:
    """Where a hyper-parameter is looked for: between two numbers, or among values."""

    low: float = 0.0
    high: float = 0.0
    log: bool = False
    values: tuple[Any, ...] = ()

    @property
    def words(self) -> str:
        """How a table says it."""
        if self.values:
            return ", ".join(map(str, self.values))
        return f"{self.low:g} to {self.high:g}{' (log)' if self.log else ''}"

    def suggest(self, trial: optuna.Trial, name: str) -> Any:
        """Asks a trial for a value."""
        if self.values:
            return trial.suggest_categorical(name, self.values)
        return trial.suggest_float(name, self.low, self.high, log=self.log)


_OFF_POLICY = {
    "learning_rate": Range(1e-4, 3e-3, log=True),
    "warmup_episodes": Range(values=(25, 50, 100)),
    "batch_size": Range(values=(32, 64, 128)),
    "tau": Range(0.003, 0.03, log=True),
}
_DETERMINISTIC = {
    **_OFF_POLICY,
    "actor_learning_rate": Range(3e-5, 1e-3, log=True),
    "sigma": Range(0.3, 1.2),
    "sigma_decay": Range(0.95, 0.995),
    "saturation_penalty": Range(0.001, 0.03, log=True),
}
_ON_POLICY = {
    "learning_rate": Range(3e-4, 1e-2, log=True),
    "n_steps": Range(values=(40, 64, 96)),
    "batch_size": Range(values=(20, 40, 64)),
    "n_epochs": Range(values=(5, 10, 20)),
    "gae_lambda": Range(0.9, 1.0),
    "ent_coef": Range(0.0, 0.03),
}
SPACES: dict[str, Mapping[str, Range]] = {
    "ddpg": _DETERMINISTIC,
    "td3": _DETERMINISTIC,
    "sac": _OFF_POLICY,
    "ppo": _ON_POLICY,
    "maskable-ppo": _ON_POLICY,
}


def worth(algorithm: str, hyperparameters: Mapping[str, Any], episodes: int, draw: int) -> float:
    """Returns the mean normalised score of one training on each problem.

    Args:
        algorithm: A name of `SPACES`.
        hyperparameters: Its settings.
        episodes: Scored episodes of each training.
        draw: Which losses the problems have, and the seed of the training.
    """
    scores = []
    for task in TASKS:
        uniform, reference = ends(task, draw)
        env = CompressionEnv(invented_problem(task, draw), action_type(algorithm))
        model = build(algorithm, env, hyperparameters, seed=draw)
        with tempfile.TemporaryDirectory() as folder:
            with Run(Path(folder), {"method": algorithm, "environment": {}}) as run:
                train(model, run, episodes)
        best = max(scored.reward for scored in run.scored)
        scores.append((best - uniform) / (reference - uniform))
    return sum(scores) / len(scores)


@cache
def ends(task: str, draw: int) -> tuple[float, float]:
    """Returns the accuracies of a problem's uniform strategy and of evolution's best."""
    problem = invented_problem(task, draw)
    found = search(problem, "evolution", REFERENCE_EVALUATIONS, seed=0)
    return float(problem.accuracy(problem.uniform())[0]), max(scored.reward for scored in found)


def tune(algorithm: str, trials: int, episodes: int, storage: Path) -> tuple[dict[str, Any], float, float]:
    """Runs trials until there are `trials` of them.

    Args:
        algorithm: A name of `SPACES`.
        trials: Number of trials, those of earlier calls included.
        episodes: Scored episodes of each training.
        storage: Optuna's journal; the study goes on where it was.

    Returns:
        The best trial's settings, its worth, and the worth of the present settings.

    Raises:
        KeyError: The algorithm has no space.
        ImportError: Optuna is not installed.
    """
    if algorithm not in SPACES:
        raise unknown_name("algo", algorithm, SPACES)
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ModuleNotFoundError as error:
        raise missing_extra("optuna", "agents", "tuning") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    present, space = read_hyperparameters(algorithm, "ChannelPrune-v0"), SPACES[algorithm]
    storage.parent.mkdir(parents=True, exist_ok=True)
    others = {name: value for name, value in present.items() if name not in space}
    study = optuna.create_study(
        # What differs in anything else than the searched settings is another study.
        study_name=f"{algorithm}-{_digest([episodes, DRAWS, TASKS, repr(space), others])}",
        direction="maximize",
        storage=JournalStorage(JournalFileBackend(str(storage))),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=FULL_TRIALS),
        load_if_exists=True,
    )
    # Begun again with the same seed, it would propose again what it has proposed.
    study.sampler = optuna.samplers.TPESampler(seed=len(study.trials), n_startup_trials=FULL_TRIALS)
    done = [t for t in study.trials if t.state.is_finished() and t.state != optuna.trial.TrialState.FAIL]
    now = {name: present[name] for name in space}
    tried = [t for t in done if t.params == now and t.state == optuna.trial.TrialState.COMPLETE]
    if not tried:
        study.enqueue_trial(now)

    def objective(trial: optuna.Trial) -> float:
        chosen = {name: where.suggest(trial, name) for name, where in space.items()}
        values = []
        for step, draw in enumerate(DRAWS):
            values.append(worth(algorithm, {**present, **chosen}, episodes, draw))
            trial.report(sum(values) / len(values), step)
            if step + 1 < len(DRAWS) and chosen != now and trial.should_prune():
                break
        value = sum(values) / len(values)
        click.echo(f"trial {trial.number}: {value:.4f} after {len(values)} of {len(DRAWS)} draws {chosen}")
        if len(values) < len(DRAWS):
            raise optuna.TrialPruned
        return value

    study.optimize(objective, n_trials=max(0 if tried else 1, trials - len(done)))
    write_atomically(storage.with_suffix(".csv"), partial(write_trials, study))
    completed = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    before = next(float(t.value or 0.0) for t in completed if t.params == now)
    return {**present, **study.best_params}, study.best_value, before


def write_trials(study: optuna.Study, path: Path) -> None:
    """Writes what was tried as CSV: a trial's worth, on how many draws, and its settings."""
    trials = [t for t in study.trials if t.state.is_finished() and t.intermediate_values]
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["trial", "worth", "draws", *trials[0].params])
        for t in trials:
            worth_of_trial = round(t.intermediate_values[max(t.intermediate_values)], 4)
            settings = [round(v, 6) if isinstance(v, float) else v for v in t.params.values()]
            writer.writerow([t.number, worth_of_trial, len(t.intermediate_values), *settings])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


@click.command()
@click.option("--algo", required=True, help=", ".join(SPACES))
@click.option("--trials", type=click.IntRange(1), default=30, show_default=True)
@click.option("--episodes", type=click.IntRange(1), default=400, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/tune"), show_default=True)
def main(algo: str, trials: int, episodes: int, out: Path) -> None:
    """Looks for better hyper-parameters and writes them to OUT/<algo>.yml; the zoo's are left as they are.

    Settings that are not better than the present ones on the draws that no trial had are told, but not written.
    """
    best, value, before = tune(algo, trials, episodes, out / f"{algo}.journal")
    words = f"# The best of {trials} trials: {value:.3f} on draws {DRAWS}; the settings before: {before:.3f}.\n"
    present = read_hyperparameters(algo, "ChannelPrune-v0")
    if best != present:
        worths = [[worth(algo, settings, episodes, draw) for draw in HELD_OUT] for settings in (best, present)]
        means = [sum(values) / len(values) for values in worths]
        wins = sum(one > other for one, other in zip(*worths, strict=True))
        words += f"# On draws {HELD_OUT}, which no trial had: {means[0]:.3f}; the settings before: {means[1]:.3f}"
        words += f" (better on {wins} of {len(HELD_OUT)}).\n"
        if means[0] <= means[1]:
            words += f"# Not better there, so these are the present ones; the best trial's: {json.dumps(best)}\n"
            best = present
    text = words + yaml.safe_dump({"default": best}, sort_keys=False)
    write_atomically(out / f"{algo}.yml", lambda p: p.write_text(text))
    click.echo(f"{text}written to {out / f'{algo}.yml'}")


if __name__ == "__main__":
    run_command(main, "agents.tune")
