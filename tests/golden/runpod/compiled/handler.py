"""Voice under RunPod's worker; made by coldstart 1.2.3, edits are lost.

`python handler.py` answers test_input.json once; on RunPod it takes jobs.
"""

from pathlib import Path

from coldstart_sdk.backends.runpod import worker

if __name__ == "__main__":  # a heartbeat process imports this file again
    worker.main(Path(__file__).parent)
