"""Costs of strategies: analytic formulas and device latencies, compiled into cost terms and summed by a kernel."""

from compress_gym.problem.costs.terms import CostTerms, Term, pack

__all__ = ["CostTerms", "Term", "pack"]
