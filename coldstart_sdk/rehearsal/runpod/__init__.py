"""RunPod on loopback: its job API, its callers' API and its control plane, for its own unmodified worker.

with Jobs() as jobs:
    run the worker under jobs.environment(); jobs.submit({"text": "hi"})
"""
