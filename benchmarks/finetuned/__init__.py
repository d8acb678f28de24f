"""Does accuracy before fine-tuning predict accuracy after it? Kendall's tau of every cheap recovery."""
