"""Transformers for translation: training, scoring, translating."""
