"""`compress_gym/ChannelPrune-v0`: how many channels each group of a convolutional network keeps."""

from __future__ import annotations

from compress_gym.kinds.shared.environment import KindEnv
from compress_gym.kinds.shared.kind import Benchmark, Kind, Options
from compress_gym.kinds.shared.networks import NETWORKS, levels_of
from compress_gym.kinds.shared.splits import TrainTestSplit
from compress_gym.networks import Network
from compress_gym.problem.decisions import DecisionSpace
from compress_gym.problem.network_decisions import channel_decisions


def decisions(network: Network, options: Options) -> DecisionSpace:
    """Returns one decision a channel group, in forward order."""
    return channel_decisions(network, levels_of(options))


KIND = Kind(
    **NETWORKS,
    id="ChannelPrune-v0",
    decisions=decisions,
    defaults={"task": "cifar10-resnet20"},
    ending="",
    # The only split that holds a network out: on bitfusion bits alone save little of a larger one.
    split=TrainTestSplit(
        train_tasks=("digits-cnn",),
        test_tasks=("cifar10-resnet20",),
        train_devices=("bitfusion", "bismo-edge"),
        test_devices=("bismo-cloud", "auto"),
        train_budgets=(0.75, 0.85),
        test_budgets=(0.95,),
    ),
    benchmarks=(Benchmark("digits-cnn", quick=True), Benchmark("cifar10-resnet20")),
)


class ChannelPruneEnv(KindEnv):
    r"""Prunes the channels of a real, trained convolutional network, group by group, after AMC.

    ## Description
    A trained network is compressed in one episode. Its convolutions' output channels form *groups* that can only
    shrink together; each step decides how many channels one group keeps, in forward order of the group's first
    producer. Which channels stay is not decided: those that the following layers read with the largest
    absolute weights (AMC's criterion). After the last step, the channels are really gone, the network is recovered as
    the task says (on CIFAR-10, weights are refitted to the uncompressed network's outputs; on all tasks, batch-norm
    statistics are re-estimated), and it has an accuracy on validation images and a latency on the device.

    Accuracies come from a table in which every strategy was scored live, from a surrogate fitted to live scores, or
    from scoring the network now (`accuracy="live"`, which needs the data set). Latencies are sums of measured
    operations, corrected for the overhead of calls; the device's card states how far they are from measured whole
    networks. Simulated accelerators are devices too.

    The environment follows *AMC: AutoML for Model Compression and Acceleration on Mobile Devices* (He et al., 2018).
    It differs from AMC's release among other things in these: what is decided is the number of output channels, in
    equal steps (eight or sixteen); the budget is kept by construction (AMC rounds after its check and overshoots);
    convolutions of any kernel and stride are reconstructed (AMC's release: 1x1), and batch-norm statistics
    re-estimated; and the action that was executed is told.

    ## Action Space
    `action_type="continuous"` (default): `Box(-1, 1, (1,), float32)`. A group with K legal channel counts has K bins
    of equal width, ascending: -1 keeps the fewest channels, 1 all of them.

    `action_type="discrete"`: `Discrete(K)`, K being the largest number of values of any group; the action is the index
    of the channel count. An index beyond a group's last value means its last value. `env.unwrapped.action_masks()` says
    which indices are legal.

    Under `budget_rule="clip"`, the choice is moved to the nearest one that leaves room for the rest, ties to the
    cheaper. Under `"repair"`, choices are lowered after the last step, from the last group to the first and again,
    until the budget holds. `info["choice"]` and `info["executed_action"]` tell what was executed; the last
    `info["strategy"]` what became of all steps.

    ## Observation Space
    `Box(0, 1, (27,), float32)`, the same columns for every network. Logarithmic columns reach 1 at the value given
    and saturate there.

    | Num | Observation           | Min | Max | Meaning                                                          |
    |-----|-----------------------|-----|-----|------------------------------------------------------------------|
    | 0   | position              | 0   | 1   | step / steps                                                     |
    | 1   | layer_is_conv         | 0   | 1   | the group's first producer is a convolution                      |
    | 2   | layer_is_depthwise    | 0   | 1   | ... a depth-wise convolution                                     |
    | 3   | layer_is_linear       | 0   | 1   | ... a linear layer                                               |
    | 4   | in_channels           | 0   | 1   | log2, uncompressed; 1 at 4096                                    |
    | 5   | out_channels          | 0   | 1   | log2, uncompressed; 1 at 4096                                    |
    | 6   | kernel                | 0   | 1   | log2 of its side; 1 at 8                                         |
    | 7   | stride                | 0   | 1   | log2; 1 at 8                                                     |
    | 8   | input_pixels          | 0   | 1   | log2 of height x width; 1 at 65536                               |
    | 9   | parameters            | 0   | 1   | log2 of the layer's weights; 1 at 16.8 M                         |
    | 10  | values                | 0   | 1   | log2 of the number of legal channel counts; 1 at 16              |
    | 11  | share_of_macs         | 0   | 1   | share of the uncompressed MACs in layers that this group touches |
    | 12  | share_of_params       | 0   | 1   | the same of parameters                                           |
    | 13  | share_of_size_bytes   | 0   | 1   | the same of bytes                                                |
    | 14  | share_of_bops         | 0   | 1   | the same of bit operations                                       |
    | 15  | share_of_latency_ms   | 0   | 1   | the same of latency                                              |
    | 16  | share_of_energy_mj    | 0   | 1   | the same of energy                                               |
    | 17  | share_of_bounded_cost | 0   | 1   | the same of the bounded cost                                     |
    | 18  | device_is_cpu         | 0   | 1   |                                                                  |
    | 19  | device_is_gpu         | 0   | 1   |                                                                  |
    | 20  | device_is_accelerator | 0   | 1   |                                                                  |
    | 21  | device_throughput     | 0   | 1   | log2 of MAC/s on the uncompressed network; 1 at 10^15            |
    | 22  | spent                 | 0   | 1   | bounded cost that is certain already, of the uncompressed        |
    | 23  | least_total           | 0   | 1   | total if the rest is compressed as far as it goes                |
    | 24  | most_total            | 0   | 1   | total if the rest is left uncompressed                           |
    | 25  | budget                | 0   | 1   | the budget                                                       |
    | 26  | previous_action       | 0   | 1   | centre of the bin executed last; 0 at the start                  |

    ## Rewards
    0 until the last step, then the named reward:

    | `reward`    | Formula                                             |
    |-------------|-----------------------------------------------------|
    | `mnasnet`   | accuracy x (cost / budget)^-0.07 (default)          |
    | `accuracy`  | accuracy (AMC's under a hard budget)                |
    | `amc-macs`  | -(1 - accuracy) x ln(MACs)                          |
    | `haq`       | 10 x (accuracy - baseline accuracy)                 |
    | `galen`     | accuracy - 5 x \|cost / budget - 1\|                  |

    or any function of a `compress_gym.problem.rewards.Outcome`. Accuracies are fractions of 1, on validation images;
    test images are never in an observation, a reward or an info.

    ## Starting State
    Nothing is decided. `info` holds the uncompressed costs under `baseline`, the task, its version, the hash of its
    assets, the device and the budget. Of one task, one device and one budget, episodes all start alike: the seed has no
    influence. Of several, each episode draws a task and a device with equal chances and a budget evenly from the range;
    `reset(options={"task": ..., "device": ..., "budget": ...})` fixes what is otherwise drawn. Observations and
    continuous actions are the same for all networks, so that one agent can be trained on many and asked about others; a
    discrete space is as wide as the longest list of values among the problems that are given together.

    ## Episode End
    `terminated` after the last group (12 steps on `cifar10-resnet20`, 5 on `digits-cnn`). Nothing is ever truncated.
    The last `info` has `accuracy`, `baseline_accuracy`, `strategy`, every cost under its name (`macs`, `params`,
    `size_bytes`, `bops`, `latency_ms`, `energy_mj`), `cost_ratio`, `feasible` and `accuracy_source`.

    ## Arguments

    | Argument      | Default              | Meaning                                                                   |
    |---------------|----------------------|---------------------------------------------------------------------------|
    | `task`        | `"cifar10-resnet20"` | a name of `compress_gym.list_tasks()`, or a list of them                  |
    | `device`      | `"auto"`             | a name of `list_devices()`, a path, `None`, `auto`: the task's, or a list |
    | `cost`        | `"latency_ms"`       | which cost is bounded                                                     |
    | `budget`      | `0.5`                | the ceiling, a fraction of the uncompressed cost; or lowest and highest   |
    | `budget_rule` | `"clip"`             | `clip`, `repair` (lower the last choices until it fits) or `none`         |
    | `reward`      | `"mnasnet"`          | see above                                                                 |
    | `accuracy`    | `"auto"`             | `measured`, `surrogate`, `live`, or `auto`: the first that the task has   |
    | `action_type` | `"continuous"`       | `continuous` or `discrete`                                                |
    | `render_mode` | `None`               | `None`, `ansi` or `rgb_array`                                             |

    `gym.make_vec` takes these as well, and `autoreset_mode` (`"NextStep"` or `"SameStep"`), `copy` (`False`:
    observations are views that the next step overwrites) and `num_threads`; see `compress_gym.CompressionVectorEnv`.

    >>> import gymnasium as gym
    >>> import compress_gym
    >>> env = gym.make("compress_gym/ChannelPrune-v0", budget=0.6, reward="accuracy")
    >>> observation, info = env.reset(seed=0)
    >>> terminated = False
    >>> while not terminated:
    ...     observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
    >>> info["feasible"]
    True

    ## Version History
    * v0: Initial version. Until compress_gym 0.1 is released, defaults and assets may still change.
    """

    kind = KIND
