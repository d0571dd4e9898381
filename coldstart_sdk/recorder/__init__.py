"""See what happens inside steps: imports, downloads, compilers, tensors, first calls.

Belongs to the worker half. It listens to events and watches a few seams of the interpreter while a start
lasts; then it takes its hooks out again. Nothing is run a second time, nothing is changed, and a seam that
cannot be watched is left alone.
"""
