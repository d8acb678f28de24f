"""SubTransformers: masked in the SuperTransformer, cut out, decoded with and without what earlier steps kept."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from compress_gym.devices.costs.transformer import (
    cross_attention_counts,
    decoder_layer_counts,
    embedding_counts,
    encoder_layer_counts,
)
from compress_gym.networks.supertransformer import BEGIN, END, MAX_LENGTH, PAD, Transformer, cut_out, positions
from compress_gym.networks.transformer import Architecture, DecoderLayer, EncoderLayer, TransformerSpace

SPACE = TransformerSpace(
    vocabulary=41,
    attention_width=16,
    encoder_layers=3,
    embed=(8, 12),
    ffn=(8, 24),
    heads=(1, 2, 4),
    decoder_layers=(1, 2, 3),
    spans=(1, 2, 3),
    length=7,
)
SEEDS = range(6)


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    made = Transformer(SPACE.largest).eval()
    with torch.no_grad():
        for parameter in made.parameters():  # norms and biases too, so that a wrong block shows
            parameter += 0.1 * torch.randn_like(parameter)
    return made


def sentences(seed, count=4, source=7, target=6):
    rng = np.random.default_rng(seed)
    rows = torch.from_numpy(rng.integers(3, SPACE.vocabulary, size=(count, source)))
    for n in range(1, count):
        rows[n, rng.integers(2, source + 1) :] = PAD
    entering = torch.from_numpy(rng.integers(3, SPACE.vocabulary, size=(count, target)))
    entering[:, 0] = BEGIN
    return rows, entering


def drawn(seed):
    return SPACE.sample(np.random.default_rng(seed))


@pytest.mark.parametrize("architecture", [SPACE.smallest, SPACE.largest, *map(drawn, SEEDS)])
def test_cut_out_equals_the_supertransformer(module, architecture):
    source, target = sentences(1)
    own = cut_out(module, architecture)
    assert own.architecture == architecture
    masked, cut = module(source, target, architecture), own(source, target)
    assert masked.shape == (4, 6, SPACE.vocabulary)
    assert torch.allclose(masked, cut, atol=1e-4)
    assert torch.equal(module.greedy(source, 8, architecture), own.greedy(source, 8))


@pytest.mark.parametrize("seed", SEEDS)
def test_cached_decoding_equals_decoding_anew(module, seed):
    source, architecture = sentences(seed)[0], drawn(seed)
    written = module.greedy(source, 9, architecture, stop=False)
    tokens = torch.full((len(source), 1), BEGIN)
    for _ in range(9):
        logits = module(source, tokens, architecture)[:, -1]
        tokens = torch.cat([tokens, logits.argmax(-1, keepdim=True)], dim=1)
    expected = tokens[:, 1:]
    behind_end = (expected == END).cumsum(1) - (expected == END).long() > 0
    assert torch.equal(written, expected.masked_fill(behind_end, PAD))


@pytest.mark.parametrize("seed", SEEDS)
def test_padding_changes_nothing(module, seed):
    source, target = sentences(seed)
    architecture = drawn(seed)
    together = module(source, target, architecture)
    for n, row in enumerate(source):
        alone = module(row[row != PAD][None], target[n : n + 1], architecture)
        assert torch.allclose(together[n], alone[0], atol=1e-4)


def test_decoding_stops_when_all_have_ended(module):
    source = sentences(3)[0]
    with torch.no_grad():
        loud = cut_out(module, SPACE.largest)
        loud.decoder_norm.bias += 5
        loud.embedding.weight[END] = 50 * loud.decoder_norm.bias  # every step predicts an end
    assert loud.greedy(source, 20).tolist() == [[END]] * len(source)
    assert loud.greedy(source, 5, stop=False).tolist() == [[END, *[PAD] * 4]] * len(source)


def architecture_counts(a, length):
    counts = [embedding_counts(length, a.vocabulary, a.encoder_embed, a.decoder_embed)]
    counts += [encoder_layer_counts(length, a.encoder_embed, e.ffn, e.heads * a.head_width) for e in a.encoder]
    for d in a.decoder:
        counts.append(decoder_layer_counts(length, a.decoder_embed, d.ffn, d.self_heads * a.head_width))
        heads = d.cross_heads * a.head_width
        counts.append(cross_attention_counts(length, a.encoder_embed, a.decoder_embed, heads, d.span))
    return [sum(column) for column in zip(*counts, strict=True)]


@pytest.mark.parametrize("architecture", [SPACE.smallest, SPACE.largest, *map(drawn, SEEDS)])
def test_counts_are_those_of_a_module(module, architecture):
    own = cut_out(module, architecture)
    macs, params, _ = architecture_counts(architecture, SPACE.length)
    assert params == sum(p.numel() for p in own.parameters())
    source = torch.randint(3, SPACE.vocabulary, (1, SPACE.length))
    # The counter knows the matrix products that attention is made of, not the fused operation.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        own.greedy(source, SPACE.length, stop=False)
    assert macs == counter.get_total_flops() / 2


def test_positions_of_a_narrow_embedding_lead_a_wide_one():
    assert torch.equal(positions(5, 8), positions(5, 12)[:, :8])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"heads": (1, 3)}, "heads=3 do not divide attention_width=16"),
        ({"spans": (1, 4)}, "span=4 attends to encoder layers that are not there; the encoder has 3"),
        ({"embed": (12, 8)}, "embed=.* must be ascending"),
        ({"ffn": ()}, "ffn=.* at least one"),
        ({"decoder_layers": (0, 1)}, "decoder_layers=.*positive"),
        ({"embed": (8, 13)}, "encoder_embed=13 must be even"),
        ({"encoder_layers": 0}, "encoder: at least one layer"),
    ],
)
def test_impossible_spaces_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        replace(SPACE, **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"decoder.layers": 4}, r"decoder.layers=4 is not one of \[1, 2, 3\]"),
        ({"encoder.layer9.heads": 2}, r"unknown \['encoder.layer9.heads'\]"),
        ({"encoder.embed_dim": None}, r"missing \['encoder.embed_dim'\]"),
    ],
)
def test_genes_outside_the_space_are_refused(changes, words):
    genes = {name: values[0] for name, values in SPACE.genes.items()} | changes
    with pytest.raises(ValueError, match=words):
        SPACE.architecture({name: value for name, value in genes.items() if value is not None})


def test_architectures_that_do_not_fit_are_refused(module):
    source, target = sentences(0)
    wider = replace(SPACE.largest, decoder_embed=14)
    for run in (
        lambda: module(source, target, wider),
        lambda: module.greedy(source, 5, wider),
        lambda: cut_out(module, wider),
    ):
        with pytest.raises(ValueError, match="does not fit into"):
            run()
    with pytest.raises(ValueError, match="ffn=0 must be at least 1"):
        Architecture(9, 4, 8, 8, (EncoderLayer(0, 1),), (DecoderLayer(8, 1, 1, 1),))


@pytest.mark.parametrize("length", [0, MAX_LENGTH + 1])
def test_impossible_lengths_are_refused(module, length):
    source = torch.full((1, length), 5)
    with pytest.raises(ValueError, match=f"a sentence has {length} tokens; it must have 1 to {MAX_LENGTH}"):
        module.greedy(source, 5)
    with pytest.raises(ValueError, match=f"length={length} must be 1 to {MAX_LENGTH}"):
        module.greedy(torch.full((1, 3), 5), length)


def test_plain_data_makes_the_same_space_and_architecture():
    assert TransformerSpace.from_json(SPACE.to_json()) == SPACE
    assert Architecture.from_json(drawn(3).to_json()) == drawn(3)
