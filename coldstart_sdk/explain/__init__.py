"""Say why a start took as long as it did, and what to change: rule by rule, along the critical path.

trace ─ Evidence ─▶ rules ─▶ findings ─ graph ─▶ advice, ranked by what READY would gain

A rule finds and estimates; the graph alone says what that is worth, because a second saved beside the
critical path is no second saved. Nothing here edits a user's files.
"""
