"""The zoo: Stable-Baselines3 agents and searches without learning, on compress_gym's environments."""
