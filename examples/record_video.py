"""A film of an episode, by Gymnasium's `RecordVideo`: `python examples/record_video.py [FOLDER]`."""

import sys

import gymnasium as gym
from gymnasium.wrappers import RecordVideo

import compress_gym  # noqa: F401  (registers the ids)

folder = sys.argv[1] if len(sys.argv) > 1 else "videos"
env = gym.make("compress_gym/ChannelPrune-v0", task="digits-cnn", render_mode="rgb_array")
env = RecordVideo(env, folder, name_prefix="channel-prune")
env.action_space.seed(0)
env.reset(seed=0)
terminated = False
while not terminated:
    *_, terminated, _, info = env.step(env.action_space.sample())
env.close()
print(f"{100 * info['accuracy']:.2f} % at {100 * info['cost_ratio']:.1f} % of the latency; see {folder}/")
