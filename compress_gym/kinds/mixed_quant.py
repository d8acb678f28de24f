"""`compress_gym/MixedQuant-v0`: how many bits the weights and the input of each layer have."""

from __future__ import annotations

from compress_gym.kinds.shared.environment import KindEnv
from compress_gym.kinds.shared.kind import Benchmark, Kind, Options, Sampling
from compress_gym.kinds.shared.networks import BITS_DEVICE, NETWORKS, bits_of, restricted_bits
from compress_gym.kinds.shared.splits import TrainTestSplit
from compress_gym.networks import Network
from compress_gym.problem.decisions import DecisionSpace
from compress_gym.problem.network_decisions import bit_decisions


def decisions(network: Network, options: Options) -> DecisionSpace:
    """Returns the decisions about the bits of each layer, in forward order."""
    return bit_decisions(network, bits_of(options), options.get("fixed"))


KIND = Kind(
    **NETWORKS,
    id="MixedQuant-v0",
    decisions=decisions,
    options=("bits", "features"),
    restricted=restricted_bits,
    defaults={"task": "digits-cnn", "device": BITS_DEVICE},
    ending="-mixed-quant",
    sampling=Sampling("bops"),
    split=TrainTestSplit(
        train_tasks=("digits-cnn",),
        test_tasks=(),
        train_devices=("bismo-edge", "bitfusion"),
        test_devices=("bismo-cloud",),
        train_budgets=(0.65, 0.9),
        test_budgets=(0.56,),
    ),
    # At half the latency 8 and 4 bits lose almost nothing; at 0.25 random search always finds the optimum within 100.
    benchmarks=(Benchmark("digits-cnn", 0.23),),
)


class MixedQuantEnv(KindEnv):
    r"""Chooses the bits of each layer of a real, trained convolutional network, layer by layer, after HAQ.

    ## Description
    A trained network is quantised in one episode. Each step decides two things about one layer, in forward order: how
    many bits its weights have, and how many bits what enters it has (its input activations). Weights are rounded
    symmetrically, each output channel with a scale of its own; inputs with one scale a tensor, unsigned where no
    value is negative (after a ReLU). Scales are those of least squared error, of inputs on 512 training images. After
    the last step the network is recovered as the task says (batch-norm statistics are re-estimated), computes with
    rounded numbers, and has an accuracy on validation images, and a latency on the device.

    The first and the last layer stay at 8 bits (HAQ's rule; on `digits-cnn` the last alone): which layers do is part
    of a task. Sums and pools cost what they do in 8 bits; their accuracy is that of full precision. What is called
    uncompressed is the network with the most bits that can be chosen, 8 unless `bits` has fewer: budgets are fractions
    of its cost. `baseline_accuracy` is that of the network in full precision.

    The device says which bits there are: Bit Fusion has 2, 4 and 8, BISMO 2 to 8. Of these, those can be chosen for
    which accuracies are measured (`digits-cnn`: 2, 4 and 8; CIFAR-10 tasks: all), or `bits`, with `accuracy="live"`
    if need be. On a measured table that holds operations in 32 and in 8 bits, a layer has one decision, `precision`,
    and pays for the conversion of its input wherever the layer that makes it has another precision.

    The environment follows *HAQ: Hardware-Aware Automated Quantization with Mixed Precision* (Wang et al., 2019). It
    differs from HAQ's release among other things in these: accuracies are those on held-out images (HAQ's linear mode
    scores training images); weights and input are decided in one step; no rounding can give 0 bits; and the budget
    can be kept while acting (`clip`) as well as by HAQ's lowering from the last layer to the first (`repair`).

    ## Action Space
    `action_type="continuous"` (default): `Box(-1, 1, (2,), float32)`, for weights and for the input. K legal bits
    have K bins of equal width, ascending: -1 is the fewest bits, 1 the most. Where the decision is `precision`, it is
    one number.

    `action_type="discrete"`: `Discrete(K)`; every decision is a step of its own, weights before input, the action is
    the index of the bits. `env.unwrapped.action_masks()` says which indices are legal.

    Under `budget_rule="clip"`, a choice is moved to the nearest one that leaves room for the rest, ties to the
    cheaper, weights before input. Under `"repair"`, choices are lowered by one after the last step, from the last
    layer to the first and again, the input before the weights, until the budget holds. `info["choice"]` and
    `info["executed_action"]` tell what was executed; the last `info["strategy"]` what became of all steps.

    ## Observation Space
    `Box(0, 1, (30,), float32)`, the same columns for every network. Logarithmic columns reach 1 at the value given
    and saturate there. Where the decision is `precision`, the columns `decides_...` and the last one are missing.

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
    | 10  | decides_weight_bits     | 0   | 1   | the step decides bits of weights                         |
    | 11  | decides_activation_bits | 0   | 1   | the step decides bits of the input                       |
    | 12  | values                  | 0   | 1   | log2 of the most legal values of a decision; 1 at 16     |
    | 13  | share_of_macs           | 0   | 1   | share of the MACs in layers that this step touches       |
    | 14  | share_of_params         | 0   | 1   | the same of parameters                                   |
    | 15  | share_of_size_bytes     | 0   | 1   | the same of bytes                                        |
    | 16  | share_of_bops           | 0   | 1   | the same of bit operations                               |
    | 17  | share_of_latency_ms     | 0   | 1   | the same of latency                                      |
    | 18  | share_of_energy_mj      | 0   | 1   | the same of energy                                       |
    | 19  | share_of_bounded_cost   | 0   | 1   | the same of the bounded cost                             |
    | 20  | device_is_cpu           | 0   | 1   |                                                          |
    | 21  | device_is_gpu           | 0   | 1   |                                                          |
    | 22  | device_is_accelerator   | 0   | 1   |                                                          |
    | 23  | device_throughput       | 0   | 1   | log2 of MAC/s with the most bits; 1 at 10^15             |
    | 24  | spent                   | 0   | 1   | bounded cost that is certain already, of the baseline    |
    | 25  | least_total             | 0   | 1   | total if the rest is compressed as far as it goes        |
    | 26  | most_total              | 0   | 1   | total if the rest is left at the most                    |
    | 27  | budget                  | 0   | 1   | the budget                                               |
    | 28  | previous_action_0       | 0   | 1   | centre of the weight bits' bin executed last; 0 at start |
    | 29  | previous_action_1       | 0   | 1   | the same of the bits of the input                        |

    `features="sensitivity"` adds six columns, between `share_of_bounded_cost` and `device_is_cpu`: how far the
    network's outputs move when the step's layer alone is compressed (Galen's features; mean Kullback-Leibler divergence
    on 256 training images, measured once a task by `compress-gym sensitivity TASK`; log10, 0 at 10^-6 nats, 1 at 10).

    | Observation             | Min | Max | Meaning                                                  |
    |-------------------------|-----|-----|----------------------------------------------------------|
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
    `terminated` after the last layer (5 steps on `digits-cnn`, 20 on `cifar10-resnet20`). Nothing is ever truncated.
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
    >>> env = gym.make("compress_gym/MixedQuant-v0", budget=0.4, reward="accuracy")
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
