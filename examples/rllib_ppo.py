"""PPO of RLlib on the environment, in this process: `python examples/rllib_ppo.py`."""

import sys

import gymnasium as gym

from compress_gym.support.errors import missing_extra

try:
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.tune.registry import register_env
except ModuleNotFoundError as error:
    sys.exit(str(missing_extra(str(error.name), "rllib", "this example")))


def make(config: dict) -> gym.Env:
    """Builds the environment; workers of Ray import the package here, which registers the ids."""
    import compress_gym  # noqa: F401

    return gym.make("compress_gym/ChannelPrune-v0", **config)


register_env("channel-prune", make)
config = (
    PPOConfig()
    .environment("channel-prune", env_config={"task": "digits-cnn", "reward": "accuracy"})
    .env_runners(num_env_runners=0, num_envs_per_env_runner=8)
    .learners(num_learners=0)
    .training(train_batch_size_per_learner=1000, minibatch_size=100, num_epochs=5, gamma=1.0, lr=1e-3)
)
algorithm = config.build_algo()
for iteration in range(3):
    runners = algorithm.train()["env_runners"]
    print(f"iteration {iteration}: mean accuracy {100 * runners['episode_return_mean']:.2f} %")
algorithm.stop()
