"""A case: a task compressed by a kind. What environments, commands and checks are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from compress_gym.devices import load_device
from compress_gym.kinds.shared.kind import Kind
from compress_gym.kinds.shared.registry import KINDS, get_kind
from compress_gym.problem import Problem
from compress_gym.problem.costs import CostTerms
from compress_gym.problem.decisions import DecisionSpace
from compress_gym.problem.observations import ExtraFeatures, device_features
from compress_gym.problem.rewards import RewardFunction
from compress_gym.problem.scores import AccuracyModel, MeasuredAccuracy
from compress_gym.problem.scores.model import ACCURACY_COLUMN
from compress_gym.problem.scores.sensitivity import Sensitivities
from compress_gym.problem.scores.strategies import MeasuredStrategies
from compress_gym.problem.scores.surrogate import SurrogateAccuracy
from compress_gym.support.cards import card_path, sha256
from compress_gym.support.errors import AssetError, unknown_name
from compress_gym.support.lazy import load
from compress_gym.tasks import Task, get_task, is_shipped, list_tasks
from compress_gym.tasks.conditions import Conditions

ACCURACIES = ("auto", "measured", "surrogate", "live")
FEATURES = ("sensitivity",)
# What a device alone can tell.
_OF_DEVICES = ("latency_ms", "energy_mj")


@dataclass(frozen=True)
class Case:
    """A task compressed by a kind.

    Attributes:
        kind: The kind.
        task: The task; its network is one that the kind compresses.
    """

    kind: Kind
    task: Task

    @property
    def name(self) -> str:
        """How files and reports call it: the task's name and the kind's ending."""
        return f"{self.task.name}{self.kind.file_ending}"

    def decisions(self, **options: Any) -> DecisionSpace:
        """Returns what is decided: by default, what scores are measured for.

        Args:
            **options: In place of the task's, for instance `bits`.
        """
        return self.kind.decisions(self.task.network(), {**self.task.options, **options})

    def cost_terms(self, decisions: DecisionSpace | None = None, device: Any = None) -> CostTerms:
        """Returns what strategies cost, on a device or on none."""
        return self.kind.cost_terms(self.task.network(), decisions or self.decisions(), device)

    @property
    def sampled_cost(self) -> tuple[CostTerms, str]:
        """Costs, and the name of the one over whose range strategies are measured and searches look."""
        sampling = self.kind.sampling
        device = load_device(sampling.device) if sampling.device else None
        return self.cost_terms(device=device), sampling.cost

    @property
    def counted_cost(self) -> str:
        """A cost that is counted without a device, and that the kind's decisions change."""
        cost = self.kind.sampling.cost
        return "macs" if cost in _OF_DEVICES else cost

    def default_device(self) -> str | None:
        """Returns the device that `auto` means: the kind's, or the task's own."""
        device: str | None = self.kind.defaults.get("device", "auto")
        return self.task.device if device == "auto" else device

    def asset(self, what: str) -> Path:
        """Returns the path of `measured`, `strategies`, `surrogate` or another file of this case."""
        return self.task.folder / f"{what}{self.kind.file_ending}.npz"

    @property
    def assets(self) -> list[Path]:
        """Paths of all files that hold scores of this case, whether they are there or not."""
        surrogates = [column.surrogate for column in self.task.declared.columns.values()]
        return [self.asset(what) for what in ("measured", "strategies", *surrogates)]

    def asset_hash(self) -> str:
        """Returns one hash over the network, the weights and what was measured, 16 hex digits.

        Raises:
            AssetError: The weights are not there.
        """
        return self.task.asset_hash(self.assets)

    def best_signal(self) -> str:
        """Returns the accuracy that `auto` means: a table of all strategies, else a surrogate, else `live`."""
        return next((name for name in ("measured", "surrogate") if self.asset(name).exists()), "live")

    def measured(self) -> MeasuredAccuracy:
        """Reads the scores of all strategies.

        Raises:
            AssetError: The table is damaged, or was measured with other weights or another recovery.
        """
        return MeasuredAccuracy.load(self._checked("measured"), self.decisions())

    def strategies(self) -> MeasuredStrategies:
        """Reads the measured strategies of a space too large to enumerate; raises as `measured`."""
        return MeasuredStrategies.load(self._checked("strategies"), self.decisions())

    def surrogate(self) -> SurrogateAccuracy:
        """Reads the surrogates of all score columns; raises as `measured`."""
        decisions, columns = self.decisions(), self.task.declared.columns
        others = {}
        for name, column in columns.items():
            if name != ACCURACY_COLUMN and self.asset(column.surrogate).exists():
                path = self._checked(column.surrogate)
                others[name] = column.link, SurrogateAccuracy.load(path, decisions)
        return SurrogateAccuracy.load(self._checked(columns[ACCURACY_COLUMN].surrogate), decisions, others)

    def _checked(self, what: str) -> Path:
        made_by = "fit" if "surrogate" in what else "collect"
        path, command = self.asset(what), f"compress-gym {made_by} {self.task.name} --env {self.kind.name}"
        if not path.exists() and not is_shipped(self.task):
            raise AssetError(f"{path}: the file is missing; make it with: {command}")
        self.task.check_made_for(path, command)
        return path

    def sensitivities(self) -> Sensitivities:
        """Reads how sensitive the network is to compressing single layers.

        Raises:
            AssetError: They were not measured, or with other weights or another recovery, or the file is damaged.
        """
        path, command = self.task.folder / "sensitivity.npz", f"compress-gym sensitivity {self.task.name}"
        if not path.exists():
            raise AssetError(
                f"features='sensitivity': those of task {self.task.name!r} are not at {path}; measure them with: "
                f"{command}"
            )
        self.task.check_made_for(path, command)
        return Sensitivities.load(path)

    def scorer(self, decisions: DecisionSpace | None = None, **conditions: Any) -> Any:
        """Builds what scores strategies live (needs the extra `live` and the data set).

        Args:
            decisions: What strategies decide; default: the case's.
            **conditions: Of `compress_gym.tasks.conditions.Conditions`.
        """
        return load(self.kind.scorer)(self.task, decisions or self.decisions(), Conditions(**conditions))

    def compressor(self, decisions: DecisionSpace | None = None, **conditions: Any) -> Any:
        """Builds what turns strategies into modules and files; arguments as of `scorer`."""
        return load(self.kind.compressor)(self.task, decisions or self.decisions(), Conditions(**conditions))

    def accuracy_model(self, accuracy: str | AccuracyModel, decisions: DecisionSpace) -> AccuracyModel:
        """Returns what gives the scores of strategies.

        Args:
            accuracy: One of `ACCURACIES`, or a model of one's own.
            decisions: What strategies decide.

        Raises:
            KeyError: Another name.
            ValueError: The task has no such scores, or not for these decisions.
        """
        if not isinstance(accuracy, str):
            return accuracy
        if accuracy not in ACCURACIES:
            raise unknown_name("accuracy", accuracy, ACCURACIES)
        if accuracy == "auto":
            accuracy = self.best_signal() if self._covers(decisions) else "live"
        if accuracy == "live":
            model: AccuracyModel = self.scorer(decisions, threads=None)
            return model
        path = self.asset(accuracy)
        if not path.exists() and not card_path(path).exists():  # where one of them is there, a file was lost
            raise ValueError(
                f"accuracy={accuracy!r}: task {self.task.name!r} has none for {self.kind.name}; "
                f"use accuracy={self.best_signal()!r}"
            )
        stored: MeasuredAccuracy | SurrogateAccuracy = self.measured() if accuracy == "measured" else self.surrogate()
        if decisions == self.decisions():
            return stored
        try:
            return stored.restricted(decisions)
        except ValueError as error:
            raise ValueError(
                f"accuracy={accuracy!r} of task {self.task.name!r}: {error}; use accuracy='live'"
            ) from error

    def _covers(self, decisions: DecisionSpace) -> bool:
        """Returns whether what was measured covers these decisions."""
        try:
            decisions.places_in(self.decisions())
        except ValueError:
            return False
        return True

    def problem(
        self,
        device: str | Path | None = "auto",
        accuracy: str | AccuracyModel = "auto",
        *,
        cost: str | None = None,
        budget: float | None = None,
        budget_rule: str = "clip",
        reward: str | RewardFunction = "mnasnet",
        **options: Any,
    ) -> Problem:
        """Builds the problem; the arguments are the environment's.

        Raises:
            TypeError: An option that the kind does not have.
            KeyError: An unknown device, accuracy, cost, budget rule, reward or name of features.
            ValueError: A budget out of range, a reward that ignores cost under `budget_rule="none"`, a damaged asset, a
                device that does not fit the task, bits that the device or the accuracies lack, features not measured, a
                cost that needs a device where there is none, or accuracies that the task does not have.
        """
        for name in options:
            if name not in self.kind.options:
                told = unknown_name("argument", name, ("device", "accuracy", "cost", "budget", *self.kind.options))
                # Python's words and class: TorchRL finds out by them which arguments an environment takes.
                raise TypeError(f"unexpected keyword argument {name!r}: {told.args[0]}")
        wanted = {name: value for name, value in options.items() if value is not None}
        features = wanted.pop("features", None)
        if features not in (None, *FEATURES):
            raise unknown_name("features", features, FEATURES)
        if cost is None:
            unmeasured = device == "auto" and self.default_device() is None
            usual = self.kind.defaults.get("cost", "latency_ms")
            cost = self.counted_cost if unmeasured and usual in _OF_DEVICES else usual
        budget = self.kind.defaults.get("budget", 0.5) if budget is None else budget
        device = self.default_device() if device == "auto" else device
        hardware = load_device(device) if isinstance(device, (str, Path)) else device
        decisions = self.kind.decisions(self.task.network(), self.kind.restricted(self.task.options, wanted, hardware))
        if hardware is None and cost in _OF_DEVICES and cost not in self.cost_terms(decisions).metrics:
            raise ValueError(f"device=None has no {cost}; give a device, or bound another cost, such as cost='macs'")
        model = self.accuracy_model(accuracy, decisions)
        extra, described = self._extra(features, decisions)
        made = {"extra_features": extra, "compressor": self._compressor_of(model, decisions)}
        made |= {"cost": cost, "budget": budget, "budget_rule": budget_rule, "reward": reward}
        return self.assembled(decisions, model, hardware, {**self._origin(), **described}, **made)

    def assembled(
        self, decisions: DecisionSpace, model: AccuracyModel, device: Any, origin: Mapping[str, Any], **settings: Any
    ) -> Problem:
        """Builds a problem of decisions and an accuracy model of one's own.

        Args:
            decisions: About the task's network, as the kind makes them.
            model: How accurate strategies are.
            device: A device, its name or path, or `None`.
            origin: Where the problem comes from; the device is added.
            **settings: Of `Problem`.
        """
        hardware = load_device(device) if isinstance(device, (str, Path)) else device
        terms = self.cost_terms(decisions, hardware)  # refuses devices of another sort
        measured_with = getattr(hardware, "task", self.task.name)
        if measured_with != self.task.name:
            raise ValueError(
                f"device={hardware.name!r} was measured with the transformers of task {measured_with!r}, not of "
                f"{self.task.name!r}"
            )
        return Problem(
            decisions,
            terms,
            model,
            steps=self.kind.steps(decisions),
            shapes=self.kind.features(self.task.network(), decisions),
            device_features=_device_features(hardware, terms, decisions),
            origin={**origin, **_device_origin(hardware, terms)},
            **settings,
        )

    def _origin(self) -> dict[str, Any]:
        if self.task.memory is not None:
            return {"model": self.task.name}
        return {"task": self.task.name, "task_version": self.task.version, "asset_hash": self.asset_hash()}

    def _extra(self, features: str | None, decisions: DecisionSpace) -> tuple[ExtraFeatures | None, dict[str, str]]:
        if features is None:
            return None, {}
        extra = self.sensitivities().features(self.task.network(), decisions)
        return extra, {"features": features, "features_hash": sha256(self.task.folder / "sensitivity.npz")[:16]}

    def _compressor_of(self, model: AccuracyModel, decisions: DecisionSpace) -> Any:
        if model.source == "live" and hasattr(model, "compressor"):
            return partial(getattr, model, "compressor")
        if self.task.declared.data is None and self.task.memory is None:
            return None
        return partial(self.compressor, decisions)


def _device_features(hardware: Any, terms: CostTerms, decisions: DecisionSpace) -> Any:
    if hardware is None:
        return None
    whole = dict(zip(terms.metrics, terms.evaluate(decisions.uncompressed[None])[0], strict=True))
    latency = next(name for name in terms.metrics if name.startswith("latency"))
    return device_features(hardware.kind, whole["macs"], whole[latency])


def _device_origin(hardware: Any, terms: CostTerms) -> Mapping[str, Any]:
    if hardware is None:
        return {"device": None}
    estimated = {f"{source}_operations": count for source, count in terms.estimated.items()}
    return {"device": hardware.name, "device_hash": hardware.digest, **estimated}


def get_case(kind: str | Kind, task: str | Task) -> Case:
    """Returns a task compressed by a kind.

    Args:
        kind: A kind, or the id of its environment, with or without the version.
        task: A task, or its name.

    Raises:
        KeyError: There is no such kind or task.
        ValueError: The kind does not compress networks like the task's.
    """
    kind = get_kind(kind) if isinstance(kind, str) else kind
    task = get_task(task) if isinstance(task, str) else task
    network = task.network()
    if not isinstance(network, kind.network):
        fitting = [k.id for k in KINDS.values() if isinstance(network, k.network)]
        raise ValueError(
            f"task={task.name!r} holds a {type(network).__name__}, and {kind.id} compresses a "
            f"{kind.network.__name__}; kinds that fit the task: {', '.join(fitting) or 'none'}"
        )
    return Case(kind, task)


def scored_tasks(env_id: str) -> dict[str, str]:
    """Returns the tasks whose scores are measured or predicted for an environment, name to `measured` or `surrogate`.

    Raises:
        KeyError: There is no such environment.
    """
    kind = get_kind(env_id)
    signals = {name: get_case(kind, name).best_signal() for name in list_tasks(kind.id)}
    return {name: signal for name, signal in signals.items() if signal != "live"}


def cases_of(task: Task) -> list[Case]:
    """Returns the cases of all kinds that a task is meant for and that are registered.

    Raises:
        ValueError: One of them does not compress networks like the task's.
    """
    return [get_case(KINDS[kind], task) for kind in task.declared.kinds if kind in KINDS]
