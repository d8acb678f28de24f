"""Search quality at equal evaluations: every method on every problem, many seeds, with intervals."""
