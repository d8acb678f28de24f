"""`compress_gym/TransformerNAS-v0`: the sizes of a transformer for translation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress_gym.envs.compression import CompressionEnv
from compress_gym.envs.vector import CompressionVectorEnv
from compress_gym.kinds.transformer_problem import transformer_problem
from compress_gym.problem import Problem
from compress_gym.problem.distribution import draw_from
from compress_gym.problem.rewards import RewardFunction
from compress_gym.problem.scores import AccuracyModel
from compress_gym.support.errors import unknown_name
from compress_gym.tasks.translation import TranslationTask, get_translation_task

DEFAULT_TASK = "multi30k-ende"
ACCURACIES = ("auto", "surrogate", "live")
Loss = Callable[[NDArray[np.int64]], NDArray[np.float64]]


class TransformerNASEnv(CompressionEnv):
    r"""Chooses the sizes of a translation transformer, gene by gene, after HAT.

    ## Description
    One SuperTransformer was trained so that every smaller transformer inside it translates: embedding widths of encoder
    and decoder, the number of decoder layers, and in each layer the width of the feed-forward network, the heads of
    each attention and how many of the last encoder layers the decoder reads. One episode chooses such a SubTransformer;
    it inherits its weights, and has a BLEU score on validation sentences and a measured latency on the device.

    Scores come from surrogates fitted to live scores, or from translating the validation sentences now
    (`accuracy="live"`, which needs the data set). Latencies are sums of products of genes with measured coefficients;
    the device's card states how far they are from measured transformers.

    The environment follows *HAT: Hardware-Aware Transformers for Efficient Natural Language Processing* (Wang et al.,
    2020). It differs from HAT among other things in these: the corpus and the transformers are small; a head has a
    fixed width, so that fewer heads mean narrower attention (in HAT's release, wider heads); layer norms come before
    each part; translations are greedy, not by beam search.

    The task `hat-wmt14` has HAT's own space and the latencies that HAT published, but no accuracy: give your own.

    ## Action Space
    `action_type="continuous"` (default): `Box(-1, 1, (1,), float32)`. A gene with K values has K bins of equal width,
    ascending.

    `action_type="discrete"`: `Discrete(K)`, K being the largest number of values of any gene; the action is the index
    of the value. `env.unwrapped.action_masks()` says which indices are legal.

    The genes of decoder layers beyond the chosen depth are inactive: their steps are skipped, and in
    `info["strategy"]` they have their least value. Budget rules are those of `ChannelPrune-v0`.

    ## Observation Space
    `Box(0, 1, (32,), float32)`: the columns of `ChannelPrune-v0`, with the kind of gene after `parameters`.

    | Num | Observation            | Min | Max | Meaning                                         |
    |-----|------------------------|-----|-----|-------------------------------------------------|
    | 0   | position               | 0   | 1   | step / steps                                    |
    | 1   | layer_is_conv          | 0   | 1   | 0                                               |
    | 2   | layer_is_depthwise     | 0   | 1   | 0                                               |
    | 3   | layer_is_linear        | 0   | 1   | 1: a gene shapes linear maps                    |
    | 4   | in_channels            | 0   | 1   | log2 of its largest matrix's inputs; 1 at 4096  |
    | 5   | out_channels           | 0   | 1   | log2 of its outputs; 1 at 4096                  |
    | 6   | kernel                 | 0   | 1   | 0                                               |
    | 7   | stride                 | 0   | 1   | 0                                               |
    | 8   | input_pixels           | 0   | 1   | 0                                               |
    | 9   | parameters             | 0   | 1   | log2 of that matrix; 1 at 16.8 M                |
    | 10  | decides_embed_dim      | 0   | 1   | the gene is a width of embeddings               |
    | 11  | decides_ffn_dim        | 0   | 1   | ... of a feed-forward network                   |
    | 12  | decides_heads          | 0   | 1   | ... a number of heads                           |
    | 13  | decides_depth          | 0   | 1   | ... the number of decoder layers                |
    | 14  | decides_attention_span | 0   | 1   | ... of encoder layers attended to               |
    | 15  | values                 | 0   | 1   | log2 of the number of values; 1 at 16           |
    | 16  | share_of_macs          | 0   | 1   | share of the MACs that the gene touches         |
    | 17  | share_of_params        | 0   | 1   | the same of parameters                          |
    | 18  | share_of_size_bytes    | 0   | 1   | the same of bytes                               |
    | 19  | share_of_bops          | 0   | 1   | the same of bit operations                      |
    | 20  | share_of_latency_ms    | 0   | 1   | the same of latency                             |
    | 21  | share_of_energy_mj     | 0   | 1   | the same of energy                              |
    | 22  | share_of_bounded_cost  | 0   | 1   | the same of the bounded cost                    |
    | 23  | device_is_cpu          | 0   | 1   |                                                 |
    | 24  | device_is_gpu          | 0   | 1   |                                                 |
    | 25  | device_is_accelerator  | 0   | 1   |                                                 |
    | 26  | device_throughput      | 0   | 1   | log2 of MAC/s, uncompressed; 1 at 10^15         |
    | 27  | spent                  | 0   | 1   | bounded cost that is certain already            |
    | 28  | least_total            | 0   | 1   | total if the rest is compressed                 |
    | 29  | most_total             | 0   | 1   | total if the rest is left uncompressed          |
    | 30  | budget                 | 0   | 1   | the budget                                      |
    | 31  | previous_action        | 0   | 1   | centre of the bin executed last; 0 at the start |

    ## Rewards
    0 until the last step, then the named reward; see `ChannelPrune-v0`. The accuracy is BLEU / 100. `hat` is -(loss on
    validation sentences, nats a token), HAT's own objective: it ranks what fits the ceiling, and says nothing of cost.

    ## Starting State
    Nothing is decided. `info` is as of `ChannelPrune-v0`.

    ## Episode End
    `terminated` after the last active gene: 13 to 25 steps on `multi30k-ende`. Nothing is ever truncated. The last
    `info` has `accuracy` (BLEU / 100), `valid_loss` (nats a token), and what `ChannelPrune-v0` has. `latency_ms` is
    that of 16 tokens in and out, `latency_30_ms` of 30; on HAT's devices, `latency_ms` is that of En-De,
    `latency_enfr_ms` that of En-Fr.

    ## Arguments

    | Argument      | Default           | Meaning                                                                      |
    |---------------|-------------------|------------------------------------------------------------------------------|
    | `task`        | `"multi30k-ende"` | a name of `TRANSLATION_TASKS`, or a list of them                             |
    | `device`      | `"auto"`          | a name of `list_devices()`, a path, `None`, `auto`: the task's, or a list    |
    | `cost`        | `"latency_ms"`    | which cost is bounded                                                        |
    | `budget`      | `0.5`             | the ceiling, a fraction of the uncompressed cost; or lowest and highest      |
    | `budget_rule` | `"clip"`          | `clip`, `repair` or `none`                                                   |
    | `reward`      | `"mnasnet"`       | see above                                                                    |
    | `accuracy`    | `"auto"`          | `surrogate`, `live`, `auto`: the first that the task has; or a model         |
    | `action_type` | `"continuous"`    | `continuous` or `discrete`                                                   |
    | `render_mode` | `None`            | `None`, `ansi` or `rgb_array`                                                |

    A model of one's own is a function of strategies `[N, T]` that returns accuracies `[N]`, with the attributes
    `source` and `baseline`; if it has a method `valid_loss`, the last info tells its result.

    >>> import gymnasium as gym
    >>> import compress_gym
    >>> env = gym.make("compress_gym/TransformerNAS-v0", budget=0.5, reward="hat")
    >>> observation, info = env.reset(seed=0)
    >>> terminated = False
    >>> while not terminated:
    ...     observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
    >>> reward == -info["valid_loss"] and info["cost_ratio"] <= 0.5
    True

    ## Version History
    * v0: Initial version. Until compress_gym 0.1 is released, defaults and assets may still change.
    """

    def __init__(
        self,
        task: str | Sequence[str] = DEFAULT_TASK,
        device: str | None | Sequence[str | None] = "auto",
        cost: str = "latency_ms",
        budget: float | Sequence[float] = 0.5,
        budget_rule: str = "clip",
        reward: str | RewardFunction = "mnasnet",
        accuracy: str | AccuracyModel = "auto",
        action_type: str = "continuous",
        render_mode: str | None = None,
    ) -> None:
        """Builds the environment; see the class docstring for the arguments."""
        problems = draw_from(
            transformer_nas_problem,
            task,
            device,
            budget,
            accuracy=accuracy,
            cost=cost,
            budget_rule=budget_rule,
            reward=reward,
        )
        super().__init__(problems, action_type, render_mode)


def transformer_nas_vector_env(
    num_envs: int,
    *,
    task: str | Sequence[str] = DEFAULT_TASK,
    device: str | None | Sequence[str | None] = "auto",
    budget: float | Sequence[float] = 0.5,
    action_type: str = "continuous",
    render_mode: str | None = None,
    autoreset_mode: str = "NextStep",
    copy: bool = True,
    num_threads: int = 1,
    **settings: Any,
) -> CompressionVectorEnv:
    """Builds the native vector environment of `TransformerNAS-v0`.

    Args:
        num_envs: How many environments.
        task: As of the environment, like the next four.
        device: See there.
        budget: See there.
        action_type: See there.
        render_mode: See there.
        autoreset_mode: See `CompressionVectorEnv`, like the next two.
        copy: See there.
        num_threads: See there.
        **settings: `cost`, `budget_rule`, `reward`, `accuracy` as of the environment.
    """
    problems = draw_from(transformer_nas_problem, task, device, budget, **settings)
    return CompressionVectorEnv(problems, num_envs, action_type, render_mode, autoreset_mode, copy, num_threads)


def transformer_nas_problem(
    task: str = DEFAULT_TASK,
    device: str | None = "auto",
    accuracy: str | AccuracyModel = "auto",
    *,
    cost: str = "latency_ms",
    budget: float = 0.5,
    budget_rule: str = "clip",
    reward: str | RewardFunction = "mnasnet",
) -> Problem:
    """Builds the problem behind `TransformerNAS-v0`; the arguments are the environment's.

    Raises:
        KeyError: An unknown task, device, accuracy, cost, budget rule or reward.
        ValueError: A task that has costs alone without an accuracy model, a budget out of range, a reward that ignores
            cost under `budget_rule="none"`, a damaged asset, or a device that was measured with other transformers.
    """
    chosen = get_translation_task(task)
    model = _accuracy_model(chosen, accuracy)
    return transformer_problem(
        chosen.space,
        model,
        chosen.device if device == "auto" else device,
        {"task": task, "task_version": chosen.version, "asset_hash": chosen.asset_hash()},
        _loss_of(chosen, model),
        cost=cost,
        budget=budget,
        budget_rule=budget_rule,
        reward=reward,
    )


def _accuracy_model(task: TranslationTask, accuracy: str | AccuracyModel) -> AccuracyModel:
    if not isinstance(accuracy, str):
        return accuracy
    if accuracy not in ACCURACIES:
        raise unknown_name("accuracy", accuracy, ACCURACIES)
    if accuracy == "auto":
        accuracy = task.best_signal()
    return task.live() if accuracy == "live" else task.surrogate()


def _loss_of(task: TranslationTask, model: AccuracyModel) -> Loss | None:
    """Returns what gives the loss of strategies, if anything does."""
    own: Loss | None = getattr(model, "valid_loss", None)
    return task.loss_surrogate().valid_loss if own is None and model.source == "surrogate" else own
