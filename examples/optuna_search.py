"""A search by Optuna over a problem, without an environment: `python examples/optuna_search.py`."""

import sys

from compress_gym.kinds import get_case
from compress_gym.support.errors import missing_extra

try:
    import optuna
except ModuleNotFoundError as error:
    sys.exit(str(missing_extra(str(error.name), "examples", "this example")))

EVALUATIONS = 200
problem = get_case("ChannelPrune-v0", "digits-cnn").problem(budget=0.5, reward="accuracy")


def accuracy(trial: optuna.Trial) -> float:
    """Asks for one channel count a group, keeps the budget as an episode would, and looks the accuracy up."""
    values = {d.name: trial.suggest_categorical(d.name, d.values) for d in problem.decisions.decisions}
    kept = problem.within_budget(problem.decisions.encode(values))
    return float(problem.accuracy(kept)[0])


optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0, multivariate=True))
study.optimize(accuracy, n_trials=EVALUATIONS, show_progress_bar=True)
optimum = float(problem.accuracy(problem.optimum())[0])
print(f"found {100 * study.best_value:.2f} % in {EVALUATIONS} evaluations; the optimum is {100 * optimum:.2f} %")
