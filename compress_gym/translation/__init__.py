"""Training, scoring and running transformers for translation."""
