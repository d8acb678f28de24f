"""Profiling on a machine that cannot run this package: a bundle goes there, its results come back."""

from compress_gym.making.bundle.export import export_bundle
from compress_gym.making.bundle.results import import_results

__all__ = ["export_bundle", "import_results"]
