"""Pictures that are drawn by playing episodes."""

from __future__ import annotations

import io
import math
from typing import Any, cast

import gymnasium as gym
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

import compress_gym
from agents.search import search
from compress_gym.problem import Problem

EVALUATIONS = 1000
# Milliseconds that a picture of an animation stands, and the last one.
STEP_MS, END_MS = 600, 3000
# Drawing takes a third of a second: of longer episodes, not every step is drawn.
MOST_PICTURES = 9


def good_strategy(problem: Problem) -> NDArray[np.int64]:
    """Returns what evolution finds in 1,000 evaluations, `[T]`: something worth looking at."""
    best = max(search(problem, "evolution", EVALUATIONS, seed=0), key=lambda scored: scored.reward)
    return problem.decisions.encode(best.strategy)


def animation(env_id: str, **settings: Any) -> bytes:
    """Plays an episode of an environment, with its defaults but for `settings`, and returns it as a GIF."""
    env = gym.make(env_id, render_mode="rgb_array", action_type="discrete", **settings)
    base = cast(compress_gym.CompressionEnv, env.unwrapped)
    env.reset(seed=0)
    strategy = good_strategy(base.problem)
    every = math.ceil(len(base.problem.decisions) / (MOST_PICTURES - 1))
    frames, steps, terminated = [cast("NDArray[np.uint8]", env.render())], 0, False
    while not terminated:
        *_, terminated, _, _ = env.step(int(strategy[base.decided]))
        steps += 1
        if terminated or steps % every == 0:
            frames.append(cast("NDArray[np.uint8]", env.render()))
    # A few colours are enough for bars and text.
    pictures = [Image.fromarray(frame).quantize(32) for frame in frames]
    durations = [STEP_MS] * (len(pictures) - 1) + [END_MS]
    file = io.BytesIO()
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0, optimize=True)
    return file.getvalue()


def episode_picture() -> bytes:
    """Draws an episode of `digits-cnn` as a PNG: what could be chosen, what was, and what it did to the cost."""
    settings: dict[str, Any] = {"task": "digits-cnn", "budget": 0.5, "reward": "accuracy"}
    env = gym.make("compress_gym/ChannelPrune-v0", action_type="discrete", **settings)
    base = cast(compress_gym.CompressionEnv, env.unwrapped)
    problem, strategy = base.problem, base.problem.optimum()
    least, most = (base.observation_names.index(name) for name in ("least_total", "most_total"))
    observation, _ = env.reset(seed=0)
    masks, totals, terminated = [], [observation[[least, most]]], False
    info: dict[str, Any] = {}
    while not terminated:
        masks.append(base.action_masks())
        observation, _, terminated, _, info = env.step(int(strategy[base.decided]))
        totals.append(observation[[least, most]])
    # After the last decision nothing is left to choose: both ends are the cost itself.
    totals[-1] = np.full(2, info["cost_ratio"], dtype=np.float32)

    figure = Figure(figsize=(8.0, 6.2), dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    choices, costs = figure.subplots(2, 1, height_ratios=[1.2, 1], sharex=True)
    steps = range(len(problem.decisions))
    for t, (decision, mask) in enumerate(zip(problem.decisions.decisions, masks, strict=True)):
        for choice, value in enumerate(decision.values):
            colour = "#1f77b4" if choice == strategy[t] else "white" if mask[choice] else "#dddddd"
            choices.scatter(t, choice, s=420, color=colour, edgecolors="#1f77b4" if mask[choice] else "#bbbbbb")
            ink = "white" if choice == strategy[t] else "black" if mask[choice] else "#999999"
            choices.text(t, choice, str(value), ha="center", va="center", fontsize=8, color=ink)
    choices.plot(steps, strategy, color="#1f77b4", zorder=0)
    choices.set_ylim(-0.6, max(problem.decisions.sizes) - 0.4)
    choices.set_ylabel("choice (its value inside)")
    choices.set_title("one step a decision: filled is what was chosen, grey would break the budget", fontsize=10)
    ends, after = np.array(totals), np.arange(-0.5, len(problem.decisions))
    costs.fill_between(after, ends[:, 0], ends[:, 1], color="#1f77b4", alpha=0.25, label="what the rest can still cost")
    costs.axhline(problem.budget, color="black", linestyle="--", label=f"budget: {problem.budget:g} of the latency")
    costs.set_xticks(list(steps), problem.decisions.names, fontsize=8)
    costs.set_ylabel("latency, of the uncompressed")
    costs.legend(fontsize=8, loc="upper right")
    costs.annotate(
        f"accuracy {info['accuracy']:.4f}\n(uncompressed {info['baseline_accuracy']:.4f})",
        (after[-1], ends[-1, 0]),
        (after[-1], 0.18),
        ha="right",
        fontsize=8,
        arrowprops={"arrowstyle": "->"},
    )
    costs.set_ylim(0, 1.05)
    file = io.BytesIO()
    canvas.print_png(file)
    return file.getvalue()
