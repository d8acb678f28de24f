"""How fast things are, always as ratios inside one run."""
