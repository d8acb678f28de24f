from __future__ import annotations

import json

import pytest
import torch
import torch_pruning
from torch import fx, nn
from torch.nn import functional as F

from compress_gym.networks import Layer, Network
from compress_gym.networks.network import WEIGHTED, description_digest
from compress_gym.networks.trace import trace
from compress_gym.support.processor import one_thread
from tests.user_nets import EVERY, USER_NETS, ZOO, build, traced

GROUPS = {
    "digits-cnn": 5,
    "plain20": 19,
    "resnet20": 12,
    "resnet56": 30,
    "vgg16": 13,
    "resnet18": 12,
    "mobilenet-v2": 25,
}
every_network = pytest.mark.parametrize("name", EVERY)


@pytest.fixture(autouse=True)
def single_thread():
    with one_thread():
        yield


@every_network
def test_json_round_trip(name):
    network = traced(name)
    assert Network.from_json(json.loads(json.dumps(network.to_json()))) == network


@every_network
def test_edges_are_those_of_the_graph(name):
    module, network = build(name), traced(name)
    names = {layer.name for layer in network.layers}

    def of(node):
        own = str(node.target) if node.op == "call_module" else node.name
        own = own if own in names else node.name
        if node.op == "placeholder":
            return None
        return own if own in names else of(node.all_input_nodes[0])

    seen = {}
    for node in fx.symbolic_trace(module).graph.nodes:
        if node.op not in ("placeholder", "output") and of(node) not in seen and node.all_input_nodes:
            seen[of(node)] = tuple(of(n) for n in node.all_input_nodes)
    assert seen == network.sources
    assert network.weighted_roots[network.layers[-1].name] == network.layers[-1].name


class OpenBranches(nn.Module):
    """A sum is made of what `a` makes before `c` reads it: two tensors of the same channels are open at once."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.norm, self.fc = nn.BatchNorm2d(4), nn.Linear(8, 10)

    def forward(self, x):
        first = torch.relu(self.norm(self.a(x)))
        total = self.b(first) + first
        return self.fc(torch.cat([torch.sigmoid(self.c(first)), total], 1).mean((2, 3)).flatten(1))


def test_edges_of_branches_that_are_open_at_once():
    network = trace(OpenBranches(), (3, 8, 8), "open")
    assert network.sources == {
        "a": (None,),
        "b": ("a",),
        "add": ("b", "a"),
        "c": ("a",),
        "cat": ("c", "add"),
        "mean": ("cat",),
        "fc": ("mean",),
    }
    own = {name: name for name in ("a", "b", "c", "fc")}
    assert network.weighted_roots == {**own, "add": "b", "cat": "c", "mean": "c"}
    assert Network.from_json(json.loads(json.dumps(network.to_json()))) == network


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda edges: edges.clear(), "there are none"),
        (lambda edges: edges.append(["c"]), "expected pairs"),
        (lambda edges: edges.pop(), r"layer 'fc' \(linear\) reads \[\]"),
        (lambda edges: edges.append(["fc", "nowhere"]), r"\['fc', 'nowhere'\] is out of place"),
        (lambda edges: edges.insert(0, edges.pop(1)), r"\['a', 'b'\] is out of place"),
        (lambda edges: edges[1].__setitem__(0, "nowhere"), "layer 'b' reads 'nowhere', which is no layer before it"),
        (lambda edges: edges[1].__setitem__(0, "c"), "layer 'b' reads 'c', which is no layer before it"),
        (lambda edges: edges[1].__setitem__(0, None), r"layer 'b' \(conv\) reads \[None\].*\('a', 4\)"),
        (lambda edges: edges.remove(["a", "add"]), r"layer 'add' \(add\) reads \['b'\]"),
        (lambda edges: edges.insert(5, edges.pop(6)), r"layer 'cat' \(concat\) reads \['add', 'c'\]"),
    ],
)
def test_damaged_edges_are_refused(damage, words):
    description = json.loads(json.dumps(trace(OpenBranches(), (3, 8, 8), "open").to_json()))
    digest = description_digest(description)
    damage(description["edges"])
    with pytest.raises(ValueError, match=f"^edges: .*{words}"):
        Network.from_json(description)
    assert description_digest(description) == digest


@every_network
def test_macs_and_shapes_are_those_that_hooks_see(name):
    module, network = build(name), traced(name)
    seen = {}

    def count(layer_name):
        def hook(module, inputs, output):
            seen[layer_name] = (module.weight[0].numel() * output.numel(), inputs[0].shape, output.shape)

        return hook

    for layer_name, layer in module.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(count(layer_name))
    with torch.no_grad():
        module(torch.zeros(1, *network.input_shape))
    weighted = [layer for layer in network.layers if layer.kind in WEIGHTED]
    assert [layer.name for layer in weighted] == list(seen)
    for layer in weighted:
        macs, entering, leaving = seen[layer.name]
        weights = layer.weights(layer.in_channels, layer.out_channels)
        assert weights == module.get_submodule(layer.name).weight.numel()
        assert weights * layer.out_height * layer.out_width == macs
        assert leaving[1] == layer.out_channels
        if layer.kind == "linear":
            assert entering[1] == layer.in_channels * layer.in_height * layer.in_width
        else:
            assert entering[1:] == (layer.in_channels, layer.in_height, layer.in_width)
            assert leaving[2:] == (layer.out_height, layer.out_width)


@pytest.mark.parametrize("name", ZOO)
def test_number_of_groups(name):
    network = traced(name)
    assert len(network.groups) == GROUPS[name]
    order = [layer.name for layer in network.layers]
    first = [order.index(group.producers[0]) for group in network.groups]
    assert first == sorted(first) and all(g.name == g.producers[0] for g in network.groups)


@every_network
def test_every_batch_norm_belongs_to_one_layer(name):
    module, network = build(name), traced(name)
    norms = {n for n, m in module.named_modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))}
    folded = [layer.batch_norm for layer in network.layers if layer.batch_norm]
    alone = [layer.name for layer in network.layers if layer.kind == "batch-norm"]
    assert sorted(folded + alone) == sorted(norms)
    assert bool(alone) == (name == "densenet-like")
    for layer in network.layers:
        if layer.batch_norm:
            assert module.get_submodule(layer.batch_norm).num_features == layer.out_channels


def test_details_of_user_networks():
    dense, resnext, excite = (traced(name) for name in USER_NETS)
    assert [s.channels for s in dense.layer("fc").inputs] == [16, 8, 8]
    assert dense.layer("dense1.1.conv").touched == ("stem", "dense1.0.conv", "dense1.1.conv")
    assert dense.layer("mean").kind == "pool" and dense.layer("avg_pool2d").kind == "avg-pool"
    divisions = {group.name: group.divisions for group in resnext.groups if group.divisions > 1}
    assert divisions == {f"block{b}.conv{c}": 4 for b in (1, 2, 3) for c in (1, 2)}
    assert resnext.groups[-1].producers == ("block3.conv3", "block3.shortcut")
    assert (excite.layer("fc1").in_height, excite.layer("fc1").in_width) == (4, 4)
    assert excite.layer("mul").kind == "multiply"
    group = excite.groups[1]
    assert group.producers == ("expand", "depthwise", "gate.excite")
    assert group.consumers == ("depthwise", "gate.squeeze", "project")


@pytest.mark.parametrize("name", ["resnet20", "mobilenet-v2", "resnet18", *USER_NETS])
def test_groups_are_those_of_torch_pruning(name):
    """Which layers shrink with a group's first producer, on which side, and where in their channels."""
    builder, shape = EVERY[name]
    module, network = builder(), traced(name)
    graph = torch_pruning.DependencyGraph().build_dependency(module, example_inputs=torch.randn(1, *shape))
    names = {m: n for n, m in module.named_modules()}
    for group in network.groups:
        first = module.get_submodule(group.producers[0])
        kind = "linear" if isinstance(first, nn.Linear) else "conv"
        prune = getattr(torch_pruning, f"prune_{kind}_out_channels")
        producers, consumers = {}, {}
        for dependency, indices in graph.get_pruning_group(first, prune, idxs=list(range(group.channels))):
            layer = dependency.target.module
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                if graph.is_out_channel_pruning_fn(dependency.handler):
                    producers.setdefault(names[layer], set()).update(indices)
                if graph.is_in_channel_pruning_fn(dependency.handler):
                    consumers.setdefault(names[layer], set()).update(indices)
        assert set(producers) == set(group.producers)
        assert set(consumers) == set(group.consumers)
        for found, side in ((producers, "outputs"), (consumers, "inputs")):
            for layer_name, indices in found.items():
                assert indices == positions(network.layer(layer_name), side, group.name)


def positions(layer, side, group):
    """Indices of a group's channels among a layer's (a linear layer's: its features)."""
    pixels = layer.in_height * layer.in_width if side == "inputs" and layer.kind == "linear" else 1
    start, found = 0, set()
    for segment in getattr(layer, side):
        stop = start + segment.channels * pixels
        found |= set(range(start, stop)) if segment.group == group else set()
        start = stop
    return found


def conv(in_channels=3, out_channels=8, kernel=3, **settings):
    return nn.Conv2d(in_channels, out_channels, kernel, padding=settings.pop("padding", kernel // 2), **settings)


class Net(nn.Module):
    """Layers by name and a forward pass of one's own, followed by pooling and a linear layer."""

    def __init__(self, steps, features=8, **layers):
        super().__init__()
        self.steps = steps
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(features, 10)

    def forward(self, x):
        return self.fc(torch.flatten(self.pool(self.steps(self, x)), 1))


class Plain(nn.Module):
    """The same without a head."""

    def __init__(self, steps, **layers):
        super().__init__()
        self.steps = steps
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.steps(self, x)


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = conv()

    def forward(self, x, y):
        return self.conv(x) + self.conv(y)


def shrinks_what_is_negative(net, x):
    return net.b(net.a(F.leaky_relu(x, 0.1, inplace=True)).mean((2, 3)))


def scales_its_input(net, x):
    x *= 2.0
    return net.b(net.a(x).mean((2, 3)))


REFUSED = {
    "unknown function": (Net(lambda net, x: net.a(x).sin(), a=conv()), "operation 'sin'.*sin is not understood"),
    "unknown module": (
        Net(lambda net, x: net.norm(net.a(x)), a=conv(), norm=nn.GroupNorm(2, 8)),
        r"operation 'norm' \(layer 'norm'\).*GroupNorm is not understood",
    ),
    "control flow": (Net(lambda net, x: net.a(x) if x.sum() > 0 else x, a=conv()), "cannot be traced by torch.fx"),
    "non-square kernel": (
        Net(lambda net, x: net.a(x), a=nn.Conv2d(3, 8, (3, 1))),
        r"operation 'a' \(layer 'a'\).*kernel \(3, 1\)",
    ),
    "non-square stride": (
        Net(lambda net, x: net.a(x), a=nn.Conv2d(3, 8, 3, (1, 2))),
        r"operation 'a' \(layer 'a'\).*stride \(1, 2\)",
    ),
    "sum out of line": (
        Net(lambda net, x: torch.cat([net.a(x), net.b(x)], 1) + net.c(x), 16, a=conv(), b=conv(), c=conv(3, 16)),
        r"operation 'add'.*\[8, 8\] with \[16\], which do not line up",
    ),
    "one channel broadcast": (
        Net(lambda net, x: net.a(x) * net.b(x), a=conv(), b=conv(3, 1)),
        r"operation 'mul'.*\[8\] with \[1\], which do not line up",
    ),
    "concatenation of rows": (
        Net(lambda net, x: torch.cat([net.a(x), net.b(x)], 2), a=conv(), b=conv()),
        "operation 'cat'.*dim=2",
    ),
    "layer used twice": (
        Net(lambda net, x: net.b(net.b(net.a(x))), a=conv(), b=conv(8)),
        r"operation 'b_1' \(layer 'b'\).*used more than once",
    ),
    "batch norm used twice": (
        Net(lambda net, x: net.norm(net.b(net.norm(net.a(x)))), a=conv(), b=conv(8), norm=nn.BatchNorm2d(8)),
        r"operation 'norm_1' \(layer 'norm'\).*used more than once",
    ),
    "parameter": (
        Net(lambda net, x: net.a(x) * net.scale, a=conv(), scale=nn.Parameter(torch.ones(8, 1, 1))),
        "operation 'scale'.*a parameter is used outside a layer",
    ),
    "constant tensor": (
        Net(lambda net, x: net.a(x) + torch.ones(1, 8, 1, 1), a=conv()),
        "cannot trace operation",
    ),
    "grouped convolution of a concatenation": (
        Net(lambda net, x: net.c(torch.cat([net.a(x), net.b(x)], 1)), a=conv(), b=conv(), c=conv(16, 8, groups=2)),
        r"operation 'c' \(layer 'c'\).*a grouped convolution reads a concatenation",
    ),
    "slice of channels": (
        Net(lambda net, x: net.b(net.a(x)[:, :4]), a=conv(), b=conv(4)),
        "cannot trace operation 'getitem",
    ),
    "slice of channels beside a sum": (
        Net(lambda net, x: (y := net.a(x)) + net.b(y[:, :4]), a=conv(), b=conv(4)),
        "cannot trace operation 'getitem",
    ),
    "chunks of channels": (
        Net(lambda net, x: net.b(net.a(x).chunk(2, 1)[0]), a=conv(), b=conv(4)),
        "operation 'chunk'.*chunk is not understood",
    ),
    "no logits": (Plain(lambda net, x: net.a(x), a=conv()), "must end in one tensor of logits"),
    "two heads": (
        Plain(lambda net, x: (net.b(x.mean((2, 3))), net.c(x.mean((2, 3)))), b=nn.Linear(3, 9), c=nn.Linear(3, 9)),
        "must end in one tensor of logits",
    ),
    "nothing with weights": (Plain(lambda net, x: x.mean((2, 3))), "no convolution or linear layer"),
    "linear layer of 4-D tensor": (
        Plain(lambda net, x: net.b(net.a(x)).mean((2, 3)), a=conv(), b=nn.Linear(16, 10)),
        r"operation 'b' \(layer 'b'\).*flatten it first",
    ),
    "half a flattening": (
        Plain(lambda net, x: net.b(torch.flatten(net.a(x), 2).mean(2)), a=conv(), b=nn.Linear(8, 10)),
        "operation 'flatten'.*only flattening is understood",
    ),
    "width fixed in the code": (
        Plain(
            lambda net, x: net.b(net.pool(net.a(x)).view(-1, 8)), a=conv(), b=nn.Linear(8, 10), pool=nn.MaxPool2d(16)
        ),
        "cannot trace operation 'view'",
    ),
    "batch norm of flattened pixels": (
        Plain(
            lambda net, x: net.b(net.norm(torch.relu(net.a(x)).flatten(1))),
            a=conv(),
            norm=nn.BatchNorm1d(2048),
            b=nn.Linear(2048, 10),
        ),
        r"operation 'norm' \(layer 'norm'\).*flattened pixels",
    ),
    "batch norm of flattened pixels, no ReLU": (
        Plain(
            lambda net, x: net.b(net.norm(net.a(x).flatten(1))),
            a=conv(),
            norm=nn.BatchNorm1d(2048),
            b=nn.Linear(2048, 10),
        ),
        r"operation 'norm' \(layer 'norm'\).*flattened pixels",
    ),
    **{
        f"an input that is changed, {change.__name__}": (
            Plain(change, a=conv(), b=nn.Linear(8, 10)),
            "operation 'x'.*changes its input in place",
        )
        for change in (scales_its_input, shrinks_what_is_negative)
    },
    "two inputs": (TwoInputs(), "operation 'y'.*more than one input"),
    "another number of input channels": (nn.Sequential(conv(1), nn.Flatten(), nn.Linear(2048, 10)), "network 'net'"),
}


@pytest.mark.parametrize(("module", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_followed_is_named(module, words):
    with pytest.raises(ValueError, match=words) as refused:
        trace(module, (3, 16, 16), "net")
    assert "'net'" in str(refused.value)


UNDERSTOOD = {
    "relu used twice": Net(
        lambda net, x: net.act(net.b(net.act(net.a(x)))), a=conv(), b=conv(8), act=nn.ReLU(inplace=True)
    ),
    "pooling used twice": Net(
        lambda net, x: net.down(net.b(net.down(net.a(x)))), a=conv(), b=conv(8), down=nn.MaxPool2d(2)
    ),
    "concatenation with itself": Net(lambda net, x: torch.cat([y := net.a(x), y], 1), 16, a=conv()),
    "sum with itself": Net(lambda net, x: (y := net.a(x)) + y, a=conv()),
    "numbers and sizes": Net(lambda net, x: (2 * net.a(x) + x.shape[0]).clone() * 0.5, a=conv()),
    "view by size": Plain(
        lambda net, x: net.b(F.max_pool2d(net.a(x), 16).view(x.size(0), -1)), a=conv(), b=nn.Linear(8, 10)
    ),
    "sum of flattened tensors": Plain(
        lambda net, x: net.c(F.avg_pool2d(net.a(x), 8).flatten(1) + F.avg_pool2d(net.b(x), 8).flatten(1)),
        a=conv(),
        b=conv(),
        c=nn.Linear(32, 10),
    ),
    "concatenation of flattened tensors": Plain(
        lambda net, x: net.c(
            torch.cat([F.avg_pool2d(net.a(x), 8).flatten(1), F.avg_pool2d(net.b(x), 4).flatten(1)], 1)
        ),
        a=conv(),
        b=conv(),
        c=nn.Linear(32 + 128, 10),
    ),
    "fully convolutional": Plain(lambda net, x: net.b(net.a(x)).mean((2, 3)), a=conv(), b=conv(8, 10)),
    "channel multiplier": Net(lambda net, x: net.b(net.a(x)), 16, a=conv(), b=conv(8, 16, groups=8)),
    "same padding": Net(lambda net, x: net.a(x), a=conv(padding="same")),
}


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_what_is_understood_is_described_right_or_refused_by_name(name):
    """Weights as the torch layer has them; what is refused all the same says so."""
    module = UNDERSTOOD[name]
    try:
        network = trace(module, (3, 16, 16), "net")
    except ValueError as refused:
        assert "cannot trace operation" in str(refused) and "flattened" in name
        return
    layers = {n: m for n, m in module.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    assert [layer.name for layer in network.layers if layer.kind in WEIGHTED] == list(layers)
    for layer_name, layer in layers.items():
        found = network.layer(layer_name)
        assert found.weights(found.in_channels, found.out_channels) == layer.weight.numel()
        assert found.in_channels * (found.in_height * found.in_width if found.kind == "linear" else 1) == (
            layer.in_channels if isinstance(layer, nn.Conv2d) else layer.in_features
        )


@pytest.mark.parametrize("training", [True, False])
def test_the_module_is_not_changed(training):
    builder, shape = USER_NETS["resnext-like"]
    module = builder().train(training)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    trace(module, shape, "net")
    assert all(m.training == training for m in module.modules())
    assert module.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_frozen_batch_norms_stay_frozen():
    """Users who fine-tune keep some layers in evaluation mode while the rest trains."""
    module = build("resnext-like").train()
    module.stem.eval()
    modes = [m.training for m in module.modules()]
    trace(module, (3, 16, 16), "net")
    assert [m.training for m in module.modules()] == modes


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match="layer 'a': kind='convolution'"):
        Layer("a", "convolution", (), ())
