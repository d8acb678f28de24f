# %% [markdown]
# # Lab 1: Compression as a decision process
#
# A network is compressed by making decisions in order: how many channels does the first convolution keep, how many the
# second, and so on. When the last decision is made, there is a smaller network, and it has an accuracy and a latency.
# That is a game, and this lab plays it by hand.
#
# | word | meaning |
# |---|---|
# | decision | one choice to make, here: how many channels a convolution keeps |
# | choice | the index of one of its values |
# | strategy | all choices together: one compressed network |
# | budget | how much the compressed network may cost, as a fraction of the uncompressed one |
#
# The network has five convolutions and reads handwritten digits. Each convolution has eight legal channel counts, so
# there are 8^5 = 32,768 strategies. All of them were pruned and scored, so that nothing here is a guess.
#
# Write your answers where it says `raise NotImplementedError`, and leave the cells that begin with `# Check` as they
# are: they tell you what is not right yet, and they are what is graded.

# %%
from labs.checking import run_check

# %%
import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np

import compress_gym  # registers the environments

env = gym.make("compress_gym/ChannelPrune-v0", task="digits-cnn", device="xeon-ort-fp32", budget=0.7, reward="accuracy")
problem = env.unwrapped.problem
names = env.unwrapped.observation_names
for decision in problem.decisions.decisions:
    print(f"{decision.name}: {decision.values}")
print({cost: round(value, 4) for cost, value in problem.baseline_costs.items()})

# %% [markdown]
# ## 1.1 Read an observation
#
# Before each decision the environment shows 27 numbers between 0 and 1. Three of them speak of the budget:
#
# - `spent`: what is certain to be spent already,
# - `least_total`: what the network will cost if all that is still open is compressed as far as it goes,
# - `budget`: the budget.
#
# All three are fractions of the uncompressed network's latency.

# %%
observation, info = env.reset(seed=0)
for name, value in zip(names, observation, strict=True):
    print(f"{name:22} {value:.3f}")

# %% [markdown]
# Write `room(observation)`: the part of the budget that is left to be given away, when everything that is still open is
# compressed as far as it goes. `names` says which number is which.


# %%
def room(observation):
    """Returns which fraction of the uncompressed latency is still free."""
    ### BEGIN SOLUTION
    return observation[names.index("budget")] - observation[names.index("least_total")]
    ### END SOLUTION


# %%
# Check 1.1 (2 points): room
def check_room(room):
    """`room` reads the observation."""
    import gymnasium
    import numpy

    for budget in (0.5, 0.8):
        env = gymnasium.make(
            "compress_gym/ChannelPrune-v0", task="digits-cnn", device="xeon-ort-fp32", budget=budget, reward="accuracy"
        )
        seen, _ = env.reset()
        for _ in range(5):
            columns = dict(zip(env.unwrapped.observation_names, seen.tolist(), strict=True))
            expected, got = columns["budget"] - columns["least_total"], room(seen)
            if got is None:
                return "`room` returns nothing; end it with `return ...`."
            if not numpy.isscalar(got) or abs(got - expected) > 1e-6:
                return (
                    f"with a budget of {columns['budget']:.3f}, when all can be done for {columns['least_total']:.3f}, "
                    f"{expected:.3f} is free; `room` says {got}. Which two numbers are to be subtracted?"
                )
            seen, *_ = env.step([0.0])


run_check(check_room)

# %% [markdown]
# ## 1.2 Play an episode
#
# An action is one number between -1 and 1 for each step: -1 keeps the fewest channels, 1 keeps all of them. The reward
# is 0 until the last decision. Then `terminated` is true, the reward is the accuracy, and `info` tells everything about
# the compressed network.
#
# Write `play(env, policy)`: it plays one episode and returns the last `info`. A *policy* is a function from an
# observation to an action (a list or an array with one number).


# %%
def play(env, policy):
    """Plays one episode and returns its last info."""
    ### BEGIN SOLUTION
    observation, info = env.reset()
    terminated = False
    while not terminated:
        observation, reward, terminated, truncated, info = env.step(policy(observation))
    return info
    ### END SOLUTION


# %%
# Check 1.2 (2 points): play
def check_play(play):
    """`play` plays whole episodes."""
    import gymnasium
    import numpy

    env = gymnasium.make(
        "compress_gym/ChannelPrune-v0", task="digits-cnn", device="xeon-ort-fp32", budget=0.7, reward="accuracy"
    )
    for _ in range(2):
        seen = []
        info = play(env, lambda observation, seen=seen: seen.append(observation.copy()) or [0.2])
        if not isinstance(info, dict):
            return f"`play` must return the info of the last step, a dict; it returns {type(info).__name__}."
        if "accuracy" not in info:
            return (
                "`play` returns an info without an accuracy: return that of the last step, when `terminated` is true."
            )
        if len(seen) != 5:
            return f"the policy was asked {len(seen)} times; ask it once for each of the 5 decisions."
        if seen[0][0] != 0.0 or (numpy.diff([o[0] for o in seen]) <= 0).any():
            return "the policy must see the newest observation: begin with that of `reset`, go on with that of `step`."


run_check(check_play)

# %%
for action in (-1.0, 0.0, 1.0):
    info = play(env, lambda observation, action=action: [action])
    print(action, info["strategy"], f"accuracy {info['accuracy']:.4f}, {info['cost_ratio']:.3f} of the latency")

# %% [markdown]
# Look at the last line: the policy asked for all channels everywhere, and did not get them. The environment keeps the
# budget: a choice that would leave too little for the rest is moved to the nearest one that does not. Which layers
# paid?
#
# ## 1.3 From a choice to an action
#
# The range from -1 to 1 is divided into as many bins of equal width as the decision has values. Write
# `action_of(choice, count)`: the centre of the bin of a choice (0, 1, ..., count - 1).


# %%
def action_of(choice, count):
    """Returns the centre of a choice's bin of [-1, 1]."""
    ### BEGIN SOLUTION
    return -1 + (2 * choice + 1) / count
    ### END SOLUTION


# %%
# Check 1.3 (2 points): action_of
def check_action_of(action_of):
    """`action_of` hits the centre of each bin."""
    for count in (2, 3, 8):
        for choice in range(count):
            got, width = action_of(choice, count), 2 / count
            expected = -1 + width * choice + width / 2
            if not isinstance(got, (int, float)) or abs(got - expected) > 1e-9:
                return (
                    f"[-1, 1] in {count} bins: each is {width:.3f} wide, that of choice {choice} begins at "
                    f"{expected - width / 2:.3f}, so its centre is {expected:.3f}; `action_of({choice}, {count})` "
                    f"returns {got}."
                )


run_check(check_action_of)

# %% [markdown]
# ## 1.4 A strategy of your own
#
# The simplest idea is to treat all layers alike. `problem.uniform(budget)` is the largest strategy that does so and
# fits:

# %%
for budget in (0.6, 0.7, 0.8):
    strategy = problem.uniform(budget)
    print(budget, problem.describe(strategy), f"accuracy {problem.accuracy(strategy)[0]:.4f}")

# %% [markdown]
# That is far below the uncompressed network's 0.99. You can do better with a rule that treats layers differently.
# Write `policy(observation)`. The mean accuracy over the budgets 0.6, 0.7 and 0.8 has to be at least 0.80.
#
# Some hints: `position` is 0 for the first convolution and 0.8 for the last. Look at `share_of_latency_ms` of each
# layer: where is time to be won? Do you believe that the first or the last layers need their channels more? Try it.


# %%
def policy(observation):
    """Returns the action for the next decision."""
    ### BEGIN SOLUTION
    step = round(5 * observation[names.index("position")])
    return [action_of((2, 3, 4, 5, 6)[step], 8)]
    ### END SOLUTION


# %%
# Check 1.4 (4 points): policy
def check_policy(policy):
    """Your strategy beats the uniform one."""
    import gymnasium
    import numpy

    accuracies, budgets = [], (0.6, 0.7, 0.8)
    for budget in budgets:
        env = gymnasium.make(
            "compress_gym/ChannelPrune-v0", task="digits-cnn", device="xeon-ort-fp32", budget=budget, reward="accuracy"
        )
        found = []
        for _ in range(2):
            seen, _ = env.reset()
            done = False
            while not done:
                seen, _, done, _, info = env.step(numpy.asarray(policy(seen), dtype=numpy.float32).reshape(1))
            found.append(info["accuracy"])
        if found[0] != found[1]:
            return "`policy` played two different episodes at one budget; let it decide by the observation alone."
        accuracies.append(found[0])
    told = ", ".join(f"{a:.4f} at {b}" for a, b in zip(accuracies, budgets, strict=True))
    if numpy.mean(accuracies) < 0.80:
        return f"its accuracies are {told}: {numpy.mean(accuracies):.4f} on average; reach 0.80."
    print(f"Accuracies: {told}.")


run_check(check_policy)

# %% [markdown]
# ## 1.5 The front
#
# A strategy is *dominated* if another one is at least as cheap and at least as accurate, and better in one of the two.
# What is left is the *Pareto front*: nobody who looks at these two numbers would choose anything else.
#
# Write `front(cost, accuracy)`: the indices of the points that are not dominated, cheapest first. Of points with equal
# cost and equal accuracy, keep one. It has to cope with 32,768 points in a second, so do not compare all pairs: sort.


# %%
def front(cost, accuracy):
    """Returns the indices of the Pareto front, cheapest first."""
    ### BEGIN SOLUTION
    order = np.lexsort((-accuracy, cost))  # by cost; of equally cheap ones the most accurate first
    best_before = np.maximum.accumulate(np.concatenate([[-np.inf], accuracy[order][:-1]]))
    return order[accuracy[order] > best_before]
    ### END SOLUTION


# %%
# Check 1.5 (4 points): front
def check_front(front):
    """`front` finds the Pareto front."""
    import numpy

    rng = numpy.random.default_rng(0)
    cases = [(numpy.array([1.0, 2.0, 2.0, 3.0]), numpy.array([0.1, 0.3, 0.4, 0.4]))]
    cases += [(rng.integers(1, 9, n).astype(float), rng.integers(1, 9, n) / 10) for n in (1, 5, 20, 60)]
    for cost, accuracy in cases:
        dominated = [
            any(
                cost[j] <= cost[i] and accuracy[j] >= accuracy[i] and (cost[j] < cost[i] or accuracy[j] > accuracy[i])
                for j in range(len(cost))
            )
            for i in range(len(cost))
        ]
        expected = sorted({(cost[i], accuracy[i]) for i in range(len(cost)) if not dominated[i]})
        index = numpy.asarray(front(cost.copy(), accuracy.copy()))
        if index.ndim != 1 or not numpy.issubdtype(index.dtype, numpy.integer):
            return "`front` must return indices: one list or array of whole numbers."
        got = [(cost[i], accuracy[i]) for i in index]
        if got != expected:
            words = "in another order, or some of them twice" if set(got) == set(expected) else "others"
            return (
                f"of the points (cost, accuracy) {sorted(zip(cost.tolist(), accuracy.tolist(), strict=True))[:8]} ... "
                f"the front is {[tuple(map(float, p)) for p in expected]}; `front` returns {words}: "
                f"{[tuple(map(float, p)) for p in got][:8]}."
            )


run_check(check_front)

# %% [markdown]
# ## 1.6 How far from the front?
#
# All strategies are known, so "good" can be made precise. Write `regret(budget)`: how many *points* (hundredths of
# accuracy) your policy's network lies below the best network within the budget. `problem.optimum(budget)` is the best
# strategy, `problem.accuracy(strategy)` returns an array with its accuracy.


# %%
def regret(budget):
    """Returns the points of accuracy between the optimum and what `policy` reaches."""
    ### BEGIN SOLUTION
    env = gym.make(
        "compress_gym/ChannelPrune-v0", task="digits-cnn", device="xeon-ort-fp32", budget=budget, reward="accuracy"
    )
    best = problem.accuracy(problem.optimum(budget))[0]
    return 100 * (best - play(env, policy)["accuracy"])
    ### END SOLUTION


# %%
# Check 1.6 (3 points): regret
def check_regret(regret, policy):
    """`regret` measures the distance to the optimum."""
    import gymnasium
    import numpy

    for budget in (0.5, 0.65, 0.9):
        env = gymnasium.make(
            "compress_gym/ChannelPrune-v0", task="digits-cnn", device="xeon-ort-fp32", budget=budget, reward="accuracy"
        )
        problem, done = env.unwrapped.problem, False
        seen, _ = env.reset()
        while not done:
            seen, _, done, _, info = env.step(numpy.asarray(policy(seen), dtype=numpy.float32).reshape(1))
        expected = 100 * (float(problem.accuracy(problem.optimum())[0]) - info["accuracy"])
        got = regret(budget)
        if got is None or numpy.ndim(got) != 0 or abs(got - expected) > 1e-6:
            return (
                f"at a budget of {budget} the best network reaches {100 * info['accuracy'] + expected:.2f} % and your "
                f"policy's {100 * info['accuracy']:.2f} %: {expected:.2f} points; `regret` returns {got}."
            )


run_check(check_regret)

# %% [markdown]
# Here is the whole picture: every strategy, the front, and what your policy does at each budget.

# %%
strategies, accuracies = problem.enumerate()
ratios = problem.costs(strategies)["latency_ms"] / problem.baseline_costs["latency_ms"]
best = front(ratios, accuracies)
figure, axes = plt.subplots(figsize=(7, 4.5))
axes.plot(ratios, accuracies, ",", color="#9ecae1")
axes.plot(ratios[best], accuracies[best], drawstyle="steps-post", color="#08519c", label="front")
for budget in (0.5, 0.6, 0.7, 0.8, 0.9):
    one = gym.make(
        "compress_gym/ChannelPrune-v0", task="digits-cnn", device="xeon-ort-fp32", budget=budget, reward="accuracy"
    )
    info = play(one, policy)
    axes.plot(info["cost_ratio"], info["accuracy"], "o", color="C1", label="your policy" if budget == 0.5 else None)
    print(f"budget {budget}: {info['accuracy']:.4f}, {regret(budget):.2f} points below the optimum")
axes.set_xlabel("latency, as a fraction of the uncompressed network's")
axes.set_ylabel("validation accuracy")
axes.legend()
plt.show()

# %% [markdown]
# **To think about.**
#
# 1. Your rule has numbers in it that you chose after looking at accuracies. How many did you try? Would the rule be
#    as good on another network? What would be a fair way to find out?
# 2. The cloud of strategies is very wide: at one latency, accuracies differ by 80 points. What does that say about
#    "prune half of every layer", as many papers' baselines do?
# 3. Accuracies here are those of 400 validation images. How much can the accuracy of one strategy be off by chance?

# %% [markdown] tags=["teacher"]
# **For teachers.** 45 to 60 minutes; 10 seconds of computing. The rule "one level more with each layer" reaches
# 0.8775, 0.9150 and 0.9150 at the three budgets. Random policies reach 0.48 to 0.59 on average, so that 0.80 is not
# met by luck. To 3: the standard error of an accuracy of 0.9 on 400 images is 1.5 points (sqrt(0.9 * 0.1 / 400)).
