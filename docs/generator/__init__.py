"""The documentation site: pages that are generated from docstrings, cards and results, beside the hand-written ones.

`python -m docs.generator` builds it; MkDocs calls `hooks.py`, which adds what `pages.py` collects.
"""
