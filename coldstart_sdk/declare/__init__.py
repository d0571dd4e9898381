"""What a user writes above their class (`values`, `mark`), and reading it once into a `Spec` (`read`).

A worker imports only the first half: `values` and `mark` hold what was written and check nothing.
"""
