"""`compress_gym/JointPQ-v0`: channels and bits under one budget."""

from __future__ import annotations

from compress_gym.kinds.shared.environment import KindEnv
from compress_gym.kinds.shared.kind import Benchmark, Kind, Options, Sampling
from compress_gym.kinds.shared.networks import BITS_DEVICE, NETWORKS, bits_of, levels_of, restricted_bits
from compress_gym.kinds.shared.splits import TrainTestSplit
from compress_gym.networks import Network
from compress_gym.problem.decisions import DecisionSpace
from compress_gym.problem.network_decisions import joint_decisions


def decisions(network: Network, options: Options) -> DecisionSpace:
    """Returns the decisions about bits and channels, layer by layer in forward order."""
    return joint_decisions(network, bits_of(options), options.get("fixed"), levels_of(options))


KIND = Kind(
    **NETWORKS,
    id="JointPQ-v0",
    decisions=decisions,
    options=("bits", "features"),
    restricted=restricted_bits,
    defaults={"task": "digits-cnn", "device": BITS_DEVICE},
    ending="-joint-pq",
    # Bit operations are a product of four factors; latency there is not.
    sampling=Sampling("latency_ms", BITS_DEVICE, mixed=True),
    split=TrainTestSplit(
        train_tasks=("digits-cnn",),
        test_tasks=(),
        train_devices=("bismo-edge", "bismo-cloud"),
        test_devices=("bitfusion",),
        train_budgets=(0.35, 0.6),
        test_budgets=(0.7,),
    ),
    benchmarks=(Benchmark("digits-cnn", 0.2),),
)


class JointPQEnv(KindEnv):
    r"""Prunes and quantises a real, trained convolutional network in one episode, after Galen and APQ.

    ## Description
    Each step decides up to three things about one layer, in forward order: the bits of its weights, the bits of what
    enters it, and, at the first layer of a channel group, how many channels the group keeps (see `ChannelPrune-v0`).
    One budget bounds them all, so keeping channels and keeping bits compete. After the last step the channels are
    removed, the network is recovered as the task says, quantised (see `MixedQuant-v0`), recovered again, and has an
    accuracy on validation images and a latency on the device. Ranges of inputs are found on the pruned network.

    The first and the last layer stay at 8 bits (on `digits-cnn` the last alone): where such a layer has channels to
    decide, its bits have one legal value. What is called uncompressed keeps all channels and the most bits that can be
    chosen, 8 unless `bits` has fewer: budgets are fractions of its cost. `baseline_accuracy` is that of the network
    in full precision.

    The environment follows *Towards Hardware-Specific Automatic Compression of Neural Networks* (Galen; Krieger et
    al., 2022) and *APQ: Joint Search for Network Architecture, Pruning and Quantization Policy* (Wang et al., 2020).
    It differs from Galen's release among other things in these: the budget can be hard (`clip`, `repair`);
    observations are on fixed scales; accuracies are measured before, so that a step takes microseconds. It has APQ's
    pruning and quantisation, not its architectures; and its surrogate sees all bits (that of APQ's release sees 8 for
    every layer).

    ## Action Space
    `action_type="continuous"` (default): `Box(-1, 1, (3,), float32)`, for weights, input and channels. K legal values
    have K bins of equal width, ascending: -1 is the fewest, 1 the most. At layers that decide no channels the third
    number is ignored, and `info["choice"]` has -1 in its place.

    `action_type="discrete"`: `Discrete(K)`; every decision is a step of its own, in that order, the action is the
    index of the value. An index beyond the last value means the last value. `env.unwrapped.action_masks()` says which
    are legal.

    Under `budget_rule="clip"`, a choice is moved to the nearest one that leaves room for the rest, ties to the
    cheaper, bits before channels. Under `"repair"`, choices are lowered by one after the last step, from the last
    decision to the first and again, until the budget holds. `info["choice"]` and `info["executed_action"]` tell what
    was executed; the last `info["strategy"]` what became of all steps.

    ## Observation Space
    `Box(0, 1, (32,), float32)`, the same columns for every network. Logarithmic columns reach 1 at the value given
    and saturate there. Where bits come in pairs (see `MixedQuant-v0`), `decides_precision` stands for two columns,
    and the last one is missing.

    | Num | Observation             | Min | Max | Meaning                                                  |
    |-----|-------------------------|-----|-----|----------------------------------------------------------|
    | 0   | position                | 0   | 1   | step / steps                                             |
    | 1   | layer_is_conv           | 0   | 1   | the step's layer is a convolution                        |
    | 2   | layer_is_depthwise      | 0   | 1   | ... a depth-wise convolution                             |
    | 3   | layer_is_linear         | 0   | 1   | ... a linear layer                                       |
    | 4   | in_channels             | 0   | 1   | log2, uncompressed; 1 at 4096                            |
    | 5   | out_channels            | 0   | 1   | log2, uncompressed; 1 at 4096                            |
    | 6   | kernel                  | 0   | 1   | log2 of its side; 1 at 8                                 |
    | 7   | stride                  | 0   | 1   | log2; 1 at 8                                             |
    | 8   | input_pixels            | 0   | 1   | log2 of height x width; 1 at 65536                       |
    | 9   | parameters              | 0   | 1   | log2 of the layer's weights; 1 at 16.8 M                 |
    | 10  | decides_channels        | 0   | 1   | the step decides channels                                |
    | 11  | decides_weight_bits     | 0   | 1   | the step decides bits of weights                         |
    | 12  | decides_activation_bits | 0   | 1   | the step decides bits of the input                       |
    | 13  | values                  | 0   | 1   | log2 of the most legal values of a decision; 1 at 16     |
    | 14  | share_of_macs           | 0   | 1   | share of the MACs in layers that this step touches       |
    | 15  | share_of_params         | 0   | 1   | the same of parameters                                   |
    | 16  | share_of_size_bytes     | 0   | 1   | the same of bytes                                        |
    | 17  | share_of_bops           | 0   | 1   | the same of bit operations                               |
    | 18  | share_of_latency_ms     | 0   | 1   | the same of latency                                      |
    | 19  | share_of_energy_mj      | 0   | 1   | the same of energy                                       |
    | 20  | share_of_bounded_cost   | 0   | 1   | the same of the bounded cost                             |
    | 21  | device_is_cpu           | 0   | 1   |                                                          |
    | 22  | device_is_gpu           | 0   | 1   |                                                          |
    | 23  | device_is_accelerator   | 0   | 1   |                                                          |
    | 24  | device_throughput       | 0   | 1   | log2 of MAC/s with the most bits; 1 at 10^15             |
    | 25  | spent                   | 0   | 1   | bounded cost that is certain already, of the baseline    |
    | 26  | least_total             | 0   | 1   | total if the rest is compressed as far as it goes        |
    | 27  | most_total              | 0   | 1   | total if the rest is left at the most                    |
    | 28  | budget                  | 0   | 1   | the budget                                               |
    | 29  | previous_action_0       | 0   | 1   | centre of the weight bits' bin executed last; 0 at start |
    | 30  | previous_action_1       | 0   | 1   | the same of the bits of the input                        |
    | 31  | previous_action_2       | 0   | 1   | the same of channels; 0 where none were decided          |

    `features="sensitivity"` adds nine columns, between `share_of_bounded_cost` and `device_is_cpu`: how far the
    network's outputs move when the step's layer alone is compressed (Galen's features; mean Kullback-Leibler divergence
    on 256 training images, measured once a task by `compress-gym sensitivity TASK`; log10, 0 at 10^-6 nats, 1 at 10).

    | Observation             | Min | Max | Meaning                                                  |
    |-------------------------|-----|-----|----------------------------------------------------------|
    | sensitivity_channels_25 | 0   | 1   | of keeping 25 % of the channels; 0 where none decided    |
    | sensitivity_channels_50 | 0   | 1   | of keeping 50 %                                          |
    | sensitivity_channels_75 | 0   | 1   | of keeping 75 %                                          |
    | sensitivity_weights_2   | 0   | 1   | of weights of 2 bits                                     |
    | sensitivity_weights_4   | 0   | 1   | of 4 bits                                                |
    | sensitivity_weights_8   | 0   | 1   | of 8 bits                                                |
    | sensitivity_input_2     | 0   | 1   | of an input of 2 bits                                    |
    | sensitivity_input_4     | 0   | 1   | of 4 bits                                                |
    | sensitivity_input_8     | 0   | 1   | of 8 bits                                                |

    ## Rewards
    0 until the last step, then the named reward:

    | `reward`    | Formula                                             |
    |-------------|-----------------------------------------------------|
    | `mnasnet`   | accuracy x (cost / budget)^-0.07 (default)          |
    | `accuracy`  | accuracy (under a hard budget)                      |
    | `amc-macs`  | -(1 - accuracy) x ln(MACs)                          |
    | `haq`       | 10 x (accuracy - baseline accuracy)                 |
    | `galen`     | accuracy - 5 x \|cost / budget - 1\|                  |

    or any function of a `compress_gym.problem.rewards.Outcome`. Accuracies are fractions of 1, on validation images;
    test images are never in an observation, a reward or an info.

    ## Starting State
    Nothing is decided. `info` holds the costs of the network with the most bits under `baseline`, the task, its
    version, the hash of its assets, the device and the budget. Of several tasks, devices or budgets, each episode
    draws one, as in `ChannelPrune-v0`; `reset(options={"task": ..., "device": ..., "budget": ...})` fixes what is
    otherwise drawn.

    ## Episode End
    `terminated` after the last layer (5 steps on `digits-cnn`, 21 on `cifar10-resnet20`). Nothing is ever truncated.
    The last `info` has `accuracy`, `baseline_accuracy`, `strategy`, every cost under its name (`macs`, `params`,
    `size_bytes`, `bops`, `latency_ms`, `energy_mj`), `cost_ratio`, `feasible` and `accuracy_source`.

    ## Arguments

    | Argument      | Default        | Meaning                                                                         |
    |---------------|----------------|---------------------------------------------------------------------------------|
    | `task`        | `"digits-cnn"` | a name of `compress_gym.list_tasks()`, or a list of them                        |
    | `device`      | `"auto"`       | a name of `list_devices()`, a path, `None`, or a list; `auto` is `bismo-edge`   |
    | `bits`        | `None`         | the bits to choose from; `None`: the device's for which accuracies are measured |
    | `cost`        | `"latency_ms"` | which cost is bounded                                                           |
    | `budget`      | `0.5`          | the ceiling, a fraction of the baseline's cost; or lowest and highest           |
    | `budget_rule` | `"clip"`       | `clip`, `repair` (lower the last choices until it fits) or `none`               |
    | `reward`      | `"mnasnet"`    | see above                                                                       |
    | `accuracy`    | `"auto"`       | `measured`, `surrogate`, `live`, or `auto`: the first that the task has         |
    | `features`    | `None`         | `sensitivity`: more columns, see above                                          |
    | `action_type` | `"continuous"` | `continuous` or `discrete`                                                      |
    | `render_mode` | `None`         | `None`, `ansi` or `rgb_array`                                                   |

    `gym.make_vec` takes these as well, and `autoreset_mode` (`"NextStep"` or `"SameStep"`), `copy` (`False`:
    observations are views that the next step overwrites) and `num_threads`; see `compress_gym.CompressionVectorEnv`.

    >>> import gymnasium as gym
    >>> import compress_gym
    >>> env = gym.make("compress_gym/JointPQ-v0", budget=0.4, reward="accuracy")
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
