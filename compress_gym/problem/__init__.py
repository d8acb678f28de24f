"""The problem: decisions, what they cost, how good strategies are, budgets, rewards; NumPy and numba alone."""

from compress_gym.problem.problem import Evaluation, Problem

__all__ = ["Evaluation", "Problem"]
