"""What knows nothing of compression: cards, commands, errors, compiled functions, work that goes on where it was."""
