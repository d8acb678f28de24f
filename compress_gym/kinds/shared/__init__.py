"""What kinds have in common: the contract, the registry, cases, the environment class."""
