# %% [markdown]
# # Lab 3: Hardware decides
#
# Papers count multiply-accumulates (MACs) because counting is easy. Users wait milliseconds. In this lab you measure
# the computer that you sit at, compare it with a server's processor and with simulated accelerators, and see that the
# best compressed network is another one on each of them.
#
# Write your answers where it says `raise NotImplementedError`, and leave the cells that begin with `# Check` as they
# are.

# %%
from labs.checking import run_check

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from compress_gym.devices import load_device
from compress_gym.kinds import get_case
from compress_gym.making.profile.networks import profile
from compress_gym.making.profile.plan import ProfilePlan, operations_of

case = get_case("ChannelPrune-v0", "digits-cnn")  # pruning the channels of this network

# %% [markdown]
# ## 3.1 Measure this computer
#
# The network `digits-cnn` has 32,768 strategies, but all of them are built of only 281 different *operations*: a
# convolution of 32 to 24 channels is the same, whatever the other layers are. The profiler times each operation, in
# random order and several times, so that whatever else the computer does hits all alike. It also times some whole
# networks: with one part of them it corrects the sums, with the others it states how far off the sums are.
#
# Measure: call `profile([case.task], plan, table, command="lab 3")`, unless `table` is there already. This takes about
# a minute; close what else is running. (`compress-gym profile digits-cnn` does the same with more repetitions.)

# %%
plan = ProfilePlan(rounds=3, repetitions=10, fit_networks=7, check_networks=6)
table = Path("laptop.csv")
### BEGIN SOLUTION
if not table.exists():
    profile([case.task], plan, table, command="lab 3")
### END SOLUTION
laptop = load_device(table)
print(f"{len(laptop.table)} operations on {laptop.card['hardware']}")
error = laptop.card["stated_error"]["median_absolute_error"]
print(f"whole networks: the table is off by {100 * error:.1f} % (median)")
if error > 0.1:
    print("That is much. Was something else running? Delete laptop.csv, and measure again.")

# %% [markdown]
# A *latency table* (LUT) makes the latency of any strategy a sum: `device.latency_us(operation)` is what an operation
# takes inside a network, `device.network_us` what a network costs beyond its operations; both in microseconds.
# `operations(strategy)` lists the operations of a strategy (the index of a channel count for each of the five layers).


# %%
def operations(strategy):
    """Returns the operations of a strategy."""
    return operations_of(case.task.network(), case.decisions(), np.asarray(strategy), plan)


for operation in operations([7, 7, 7, 7, 7]):
    print(f"{str(operation):50} {operation.macs:>9,} MACs {laptop.latency_us(operation):8.2f} us")

# %% [markdown]
# Write `latency_ms(device, operations)`: the predicted latency of a network, in **milliseconds**.


# %%
def latency_ms(device, operations):
    """Returns the predicted latency of a network that consists of these operations."""
    ### BEGIN SOLUTION
    return (device.network_us + sum(device.latency_us(operation) for operation in operations)) / 1000
    ### END SOLUTION


# %%
# Check 3.1 (2 points): latency_ms
def check_latency_ms(latency_ms):
    """`latency_ms` sums operations."""
    import numpy

    from compress_gym.devices import load_device
    from compress_gym.kinds import get_case
    from compress_gym.making.profile.plan import ProfilePlan, operations_of

    device, case = load_device("xeon-ort-fp32"), get_case("ChannelPrune-v0", "digits-cnn")
    problem = case.problem(device)
    for strategy in ([7, 7, 7, 7, 7], [0, 3, 1, 6, 2]):
        used = operations_of(case.task.network(), case.decisions(), numpy.array(strategy), ProfilePlan())
        expected, got = float(problem.costs(strategy)["latency_ms"][0]), latency_ms(device, used)
        if got is None or numpy.ndim(got) != 0 or abs(got - expected) > 1e-6 * expected:
            hint = "in milliseconds, not microseconds?" if got and abs(got / 1000 - expected) < 1e-6 else ""
            hint = hint or "all operations, and what the network costs beyond them?"
            return f"strategy {strategy} takes {expected:.6f} ms on xeon-ort-fp32, `latency_ms` returns {got} ({hint})."


run_check(check_latency_ms)

# %% [markdown]
# ## 3.2 MACs against milliseconds
#
# Four devices: this computer and a server's processor (both compute in 32 bits), and two simulated accelerators (in 8
# bits). On all of them, the uncompressed network counts as 1.

# %%
problems = {
    name: case.problem(device, budget=0.7, reward="accuracy")
    for name, device in {
        "laptop": table,
        "xeon": "xeon-ort-fp32",
        "bitfusion": "bitfusion",
        "bismo": "bismo-edge",
    }.items()
}
some = problems["laptop"].random(np.random.default_rng(0), 300)
figure, all_axes = plt.subplots(1, len(problems), figsize=(13, 3.2), sharey=True)
for axes, (name, problem) in zip(all_axes, problems.items(), strict=True):
    costs = problem.costs(some)
    axes.plot(
        costs["macs"] / problem.baseline_costs["macs"], costs["latency_ms"] / problem.baseline_costs["latency_ms"], "."
    )
    axes.set_title(f"{name}: {problem.baseline_costs['latency_ms']:.3f} ms")
    axes.set_xlabel("MACs, as a fraction")
all_axes[0].set_ylabel("latency, as a fraction")
plt.show()

# %% [markdown]
# Write `misjudged(macs, latency)`: of all pairs of strategies that differ in their MACs *and* in their latency, the
# share in which the one with fewer MACs is the slower one. 0 means that MACs order strategies as the clock does, 0.5
# that one might as well toss a coin.


# %%
def misjudged(macs, latency):
    """Returns the share of pairs that MACs put in the wrong order."""
    ### BEGIN SOLUTION
    order = np.sign(macs[:, None] - macs[None]) * np.sign(latency[:, None] - latency[None])
    return (order < 0).sum() / (order != 0).sum()
    ### END SOLUTION


# %%
# Check 3.2 (3 points): misjudged
def check_misjudged(misjudged):
    """`misjudged` compares pairs."""
    import numpy

    rng = numpy.random.default_rng(2)
    cases = [
        (numpy.array([1.0, 2.0, 3.0]), numpy.array([1.0, 2.0, 3.0]), "nothing is in the wrong order"),
        (numpy.array([1.0, 2.0, 3.0]), numpy.array([3.0, 2.0, 1.0]), "everything is in the wrong order"),
        (
            numpy.array([1.0, 1.0, 2.0]),
            numpy.array([2.0, 3.0, 2.0]),
            "pairs with equal MACs or equal latency do not count",
        ),
    ]
    cases += [(rng.integers(0, 9, 25).astype(float), rng.random(25), "each pair once")]
    for macs, latency, why in cases:
        pairs = [
            (macs[i] - macs[j]) * (latency[i] - latency[j])
            for i in range(len(macs))
            for j in range(i)
            if macs[i] != macs[j] and latency[i] != latency[j]
        ]
        expected, got = sum(p < 0 for p in pairs) / len(pairs), misjudged(macs.copy(), latency.copy())
        if got is None or numpy.ndim(got) != 0 or not abs(got - expected) < 1e-9:
            return (
                f"for MACs {macs[:5].tolist()} and latencies {latency[:5].round(2).tolist()} (of {len(macs)}) it is "
                f"{expected:.4f} ({why}); `misjudged` returns {got}."
            )


run_check(check_misjudged)

# %%
for name, problem in problems.items():
    costs = problem.costs(some)
    print(f"{name:10} {100 * misjudged(costs['macs'], costs['latency_ms']):.0f} % of the pairs are misjudged by MACs")

# %% [markdown]
# ## 3.3 A counter-example of your own
#
# Find two strategies, `fewer_macs` and `faster` (lists of five numbers from 0 to 7): the first one has at most 80 %
# of the second one's MACs, and yet the second one is faster **on this computer**.
# `problems["laptop"].costs(strategies)` takes thousands of strategies at once. Look at the two in the end: in which
# layers do they differ?

# %%
### BEGIN SOLUTION
candidates = problems["laptop"].decisions.enumerate()[::7]
costs = problems["laptop"].costs(candidates)
order = np.argsort(costs["latency_ms"])
most_macs_before = np.maximum.accumulate(costs["macs"][order])  # among all that are at least as fast
slow = int(np.argmin(costs["macs"][order] / most_macs_before))
fast = int(np.argmax(costs["macs"][order][:slow]))
fewer_macs, faster = candidates[order[slow]].tolist(), candidates[order[fast]].tolist()
### END SOLUTION
for name, strategy in (("fewer_macs", fewer_macs), ("faster", faster)):
    costs = problems["laptop"].costs(strategy)
    print(f"{name:10} {strategy}: {costs['macs'][0]:>9,.0f} MACs, {1000 * costs['latency_ms'][0]:.1f} us")


# %%
# Check 3.3 (2 points): a counter-example
def check_surprise(fewer_macs, faster, table):
    """Fewer MACs can be slower."""
    from compress_gym.kinds import get_case

    costs = get_case("ChannelPrune-v0", "digits-cnn").problem(table).costs([list(fewer_macs), list(faster)])
    macs, latency = costs["macs"], costs["latency_ms"]
    if macs[0] > 0.8 * macs[1]:
        return f"`fewer_macs` has {macs[0] / macs[1]:.2f} times the MACs of `faster`; it must be at most 0.80."
    if latency[1] >= latency[0]:
        return f"`faster` takes {latency[1]:.4f} ms on this computer, and `fewer_macs` {latency[0]:.4f} ms."


run_check(check_surprise)

# %% [markdown]
# ## 3.4 The best network for each device
#
# Write `best_on(problems, budget)`: device name to the most accurate strategy whose latency there is at most the budget
# (a fraction of the uncompressed network's on that device), as a list.


# %%
def best_on(problems, budget):
    """Returns name of a device to its best strategy."""
    ### BEGIN SOLUTION
    return {name: problem.optimum(budget).tolist() for name, problem in problems.items()}
    ### END SOLUTION


# %%
# Check 3.4 (2 points): best_on
def check_best_on(best_on):
    """`best_on` finds each device's optimum."""
    from compress_gym.kinds import get_case

    case = get_case("ChannelPrune-v0", "digits-cnn")
    given = {name: case.problem(name) for name in ("xeon-ort-fp32", "bismo-edge", "bitfusion")}
    for budget in (0.5, 0.65):
        got = best_on(given, budget)
        if not isinstance(got, dict) or set(got) != set(given):
            return f"`best_on` must return a dict with the devices {sorted(given)}; it returns {got!r}."
        for name, problem in given.items():
            chosen = [int(choice) for choice in got[name]]
            accuracy, reached = problem.accuracy([problem.optimum(budget), chosen])
            ratio = problem.costs(chosen)["latency_ms"][0] / problem.baseline_costs["latency_ms"]
            if ratio > budget * (1 + 1e-6):
                return f"on {name}, {chosen} takes {ratio:.3f} of the latency; the budget is {budget}."
            if reached < accuracy:
                return f"on {name}, {accuracy:.4f} is possible within {budget}; {chosen} reaches {reached:.4f}."


run_check(check_best_on)

# %%
best = best_on(problems, 0.6)
for name, strategy in best.items():
    values = list(problems[name].describe(strategy).values())
    print(f"{name:10} keeps {values} channels: accuracy {problems[name].accuracy(strategy)[0]:.4f}")

# %% [markdown]
# ## 3.5 What if you search on one device and ship to another?
#
# Write `transfer(problems, budget)`: a square array. Row i, column j: the latency **on device j** of the strategy
# that is best on device i, as a fraction of the uncompressed network's latency on device j. The order is that of
# `problems`.


# %%
def transfer(problems, budget):
    """Returns the latency ratio of each device's best strategy on each device, [device, device]."""
    ### BEGIN SOLUTION
    strategies = list(best_on(problems, budget).values())
    columns = [p.costs(strategies)["latency_ms"] / p.baseline_costs["latency_ms"] for p in problems.values()]
    return np.stack(columns, axis=1)
    ### END SOLUTION


# %%
# Check 3.5 (3 points): transfer
def check_transfer(transfer):
    """`transfer` moves strategies between devices."""
    import numpy

    from compress_gym.kinds import get_case

    case = get_case("ChannelPrune-v0", "digits-cnn")
    names = ("bismo-edge", "xeon-ort-fp32", "bitfusion")
    given = {name: case.problem(name) for name in names}
    for budget in (0.5, 0.65):
        got = numpy.asarray(transfer(given, budget))
        if got.shape != (3, 3):
            return f"`transfer` of three devices must have the shape (3, 3); it has {got.shape}."
        for i, first in enumerate(names):
            for j, second in enumerate(names):
                there = given[second]
                expected = (
                    there.costs(given[first].optimum(budget))["latency_ms"][0] / there.baseline_costs["latency_ms"]
                )
                if abs(got[i, j] - expected) > 1e-6:
                    words = " (rows and columns are exchanged)" if abs(got[j, i] - expected) < 1e-6 else ""
                    return (
                        f"the strategy that is best on {first} takes {expected:.4f} of the latency on {second} with a "
                        f"budget of {budget}; row {i}, column {j} holds {got[i, j]:.4f}{words}."
                    )


run_check(check_transfer)

# %%
matrix = transfer(problems, 0.6)
figure, axes = plt.subplots(figsize=(5, 4))
image = axes.imshow(matrix, cmap="RdYlGn_r", vmin=0.2, vmax=1.0)
axes.set_xticks(range(len(problems)), problems, rotation=30)
axes.set_yticks(range(len(problems)), problems)
axes.set_xlabel("runs on")
axes.set_ylabel("chosen for")
for (i, j), value in np.ndenumerate(matrix):
    axes.text(j, i, f"{value:.2f}", ha="center", va="center", weight="bold" if value > 0.6 * (1 + 1e-6) else None)
axes.set_title("fraction of the latency (bold: over the budget of 0.60)")
plt.show()

# %% [markdown]
# ## 3.6 One network for all
#
# Write `robust(problems, budget)`: the most accurate strategy (a list) that keeps the budget on **every** device. All
# strategies: `problem.enumerate()` returns them and their accuracies, which are the same on all devices.


# %%
def robust(problems, budget):
    """Returns the best strategy that keeps the budget everywhere."""
    ### BEGIN SOLUTION
    strategies, accuracy = next(iter(problems.values())).enumerate()
    fits = [p.costs(strategies)["latency_ms"] <= p.limit_of(budget) for p in problems.values()]
    fitting = np.flatnonzero(np.all(fits, axis=0))
    return strategies[fitting[accuracy[fitting].argmax()]].tolist()
    ### END SOLUTION


# %%
# Check 3.6 (3 points): robust
def check_robust(robust):
    """`robust` keeps the budget everywhere."""
    import numpy

    from compress_gym.kinds import get_case

    case = get_case("ChannelPrune-v0", "digits-cnn")
    names = ("bismo-edge", "xeon-ort-fp32", "bitfusion")
    given = {name: case.problem(name) for name in names}
    for budget in (0.55, 0.7):
        got = [int(choice) for choice in robust(given, budget)]
        strategies, accuracy = given["bitfusion"].enumerate()
        fits = numpy.ones(len(strategies), dtype=bool)
        for name, problem in given.items():
            ratios = problem.costs(strategies)["latency_ms"] / problem.baseline_costs["latency_ms"]
            fits &= ratios <= budget * (1 + 1e-6)
            ratio = problem.costs(got)["latency_ms"][0] / problem.baseline_costs["latency_ms"]
            if ratio > budget * (1 + 1e-6):
                return f"{got} takes {ratio:.3f} of the latency on {name}, more than the budget of {budget}."
        reached = given["bitfusion"].accuracy(got)[0]
        if reached < accuracy[fits].max():
            return f"within {budget} everywhere, {accuracy[fits].max():.4f} is possible; {got} reaches {reached:.4f}."


run_check(check_robust)

# %%
for name, strategy in {**best_on(problems, 0.6), "all of them": robust(problems, 0.6)}.items():
    print(f"best for {name:12} accuracy {problems['laptop'].accuracy(strategy)[0]:.4f}, {strategy}")

# %% [markdown]
# **To think about.**
#
# 1. Which device could keep most of the accuracy at a budget of 0.6, and why? (Look at what the smallest network
#    costs on each.)
# 2. Plot the latency of the second convolution over its output channels on this computer. Is it a line? A staircase?
# 3. Bit Fusion and BISMO are simulated, your computer is measured. What does each of the two kinds of numbers leave
#    out?
# 4. How far off is your table (see the stated error)? Does that change any of your answers?

# %% [markdown] tags=["teacher"]
# **For teachers.** 60 to 75 minutes; about a minute of measuring and a few seconds of computing. `laptop.csv` stays
# in the working folder, so that a notebook that is run again does not measure again; grading measures anew, on the
# grader's computer, and no check depends on what was measured. At 0.5 of the latency, the best strategy for BISMO
# (0.98) takes 0.83 of the latency of `xeon-ort-fp32`, and the best one for the Xeon keeps only 0.8175 of the images
# right.
