"""The environment in TorchRL: `python examples/torchrl_env.py`."""

import sys

import torch

import compress_gym  # noqa: F401  (registers the ids)
from compress_gym.support.errors import missing_extra

try:
    from torchrl.envs import GymEnv, RewardSum, TransformedEnv, check_env_specs
except ModuleNotFoundError as error:
    sys.exit(str(missing_extra(str(error.name), "examples", "this example")))

torch.manual_seed(0)
env = GymEnv("compress_gym/ChannelPrune-v0", task="digits-cnn", reward="accuracy")
check_env_specs(env)
env = TransformedEnv(env, RewardSum())
env.set_seed(0)
rollout = env.rollout(max_steps=100, break_when_any_done=False)
ends = rollout["next", "episode_reward"][rollout["next", "done"]]
print(f"{len(ends)} random episodes; accuracies from {100 * ends.min():.2f} to {100 * ends.max():.2f} %")
