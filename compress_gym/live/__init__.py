"""Everything that needs torch: a strategy applied to a module, recoveries, scores, files."""
