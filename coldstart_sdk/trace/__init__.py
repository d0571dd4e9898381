"""A start as one record, and the ways to look at it.

`build` turns events into a `Trace`; `path` says what held READY up; `metrics` are figures of it; `waterfall`,
`svg` and `chrome` draw it. A worker needs `model`, `path` and `build` alone, so nothing is imported here.
"""
