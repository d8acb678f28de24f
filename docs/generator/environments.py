"""One page per registered environment: its class docstring, its spaces and an episode."""

from __future__ import annotations

import inspect

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator

import compress_gym  # noqa: F401  (registers the ids)
from docs.generator.pictures import EVALUATIONS, animation
from docs.generator.text import table, with_fenced_doctests

NAMESPACE = "compress_gym/"


def environment_ids() -> list[str]:
    """Returns the registered ids."""
    return [name for name in gym.registry if name.startswith(NAMESPACE)]


def environment_pages() -> dict[str, str | bytes]:
    """Returns the page and the animation of each id, by their paths in the site."""
    pages: dict[str, str | bytes] = {}
    for env_id in environment_ids():
        stem = env_id.removeprefix(NAMESPACE)
        pages[f"environments/{stem}.md"] = environment_page(env_id)
        pages[f"environments/{stem}.gif"] = animation(env_id)
    return pages


def environment_page(env_id: str) -> str:
    """Writes the page of an id."""
    env = gym.make(env_id)
    stem = env_id.removeprefix(NAMESPACE)
    # The class that the id names, whatever wrappers `gym.make` puts around it.
    creator = load_env_creator(str(gym.spec(env_id).entry_point))
    facts = [
        ("Action space", f"`{env.action_space}`"),
        ("Observation space", f"`{env.observation_space}`"),
        ("Made by", f'`gym.make("{env_id}")`'),
        ("Thousands at a time", f'`gym.make_vec("{env_id}", num_envs=4096)`'),
    ]
    return "\n\n".join(
        [
            f"# {stem}",
            f"![An episode of {stem}]({stem}.gif)",
            f"*An episode with the default arguments: what evolution found in {EVALUATIONS:,} "
            "evaluations. Left, what each decision keeps of the most it could; right, cost and accuracy.*",
            table(facts[0], facts[1:]),
            with_fenced_doctests(inspect.getdoc(creator) or ""),
        ]
    )
