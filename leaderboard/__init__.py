"""A leaderboard that replays what it ranks: `python -m leaderboard {submit,verify,build,schema}`.

A submission is a file of strategies. Verifying recomputes what they cost and how accurate they are; building makes a
site of what was verified. No number of a submitter is shown without being replayed or marked as declared.
"""
