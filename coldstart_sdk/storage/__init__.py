"""Weights: from an origin to a directory on this machine, verified, and never twice.

It knows keys, bytes and digests, not models. `sync.sync` brings one declared set; `weights` is what a hook
receives; `views.link` makes the links a declaration asks for, once every set is there.
"""
