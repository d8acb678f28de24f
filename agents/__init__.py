"""The zoo: Stable-Baselines3 agents and searches without learning, on compress_gym's environments."""

import warnings

# PPO's last, shorter minibatch is meant: rollouts and minibatches were tuned together.
warnings.filterwarnings("ignore", message=".*truncated mini-batch")
