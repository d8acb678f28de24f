"""Trained agents that ship with the repository, a folder each; `python -m agents.trained RUN_FOLDER` adds one.

config.yml            what was trained on what: hyper-parameters, task version, asset hash, package versions
policy.safetensors    the weights of what acts
policy.npz            the statistics of observations and returns, where the agent normalises them
expected.json         the strategy that its deterministic policy chooses; a test replays it
"""
