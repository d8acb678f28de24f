"""`compress_gym/TransformerNAS-v0`: the sizes of a transformer for translation."""

from __future__ import annotations

from compress_gym.devices.costs.transformer import transformer_cost_terms
from compress_gym.kinds.shared.environment import KindEnv
from compress_gym.kinds.shared.kind import Benchmark, Kind, Options
from compress_gym.kinds.shared.splits import TrainTestSplit
from compress_gym.networks.transformer import TransformerSpace
from compress_gym.problem.decisions import DecisionSpace
from compress_gym.problem.transformer_decisions import gene_features, transformer_decisions


def decisions(space: TransformerSpace, options: Options) -> DecisionSpace:
    """Returns one decision a gene."""
    return transformer_decisions(space)


KIND = Kind(
    id="TransformerNAS-v0",
    network=TransformerSpace,
    decisions=decisions,
    cost_terms=transformer_cost_terms,
    features=gene_features,
    scorer="compress_gym.live.translation.scorer:build",
    compressor="compress_gym.live.translation.compressor:build",
    train="compress_gym.making.train_translation:train",
    profile="compress_gym.making.profile.transformers",
    defaults={"task": "multi30k-ende"},
    ending="",
    metric="BLEU",
    split=TrainTestSplit(
        train_tasks=("multi30k-ende",),
        test_tasks=(),
        train_devices=("auto",),
        test_devices=(),
        train_budgets=(0.4, 0.7),
        test_budgets=(0.3333, 0.8),
    ),
    # At a third of the latency a single decoder layer is left, and every search finds the same transformer.
    benchmarks=(Benchmark("multi30k-ende"),),
)


class TransformerNASEnv(KindEnv):
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
    | `task`        | `"multi30k-ende"` | a name of `list_tasks()`, or a list of them                                  |
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

    kind = KIND
