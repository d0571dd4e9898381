"""One room for each platform: what it can do, how a plan is spelled for it, and its client.

Each backend is found through the entry-point group `coldstart.backends`, like anybody else's.
"""
