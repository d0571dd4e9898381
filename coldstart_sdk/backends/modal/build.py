"""One step of an image's build, run where plan.json and the code lie: `python -m` this module."""

from __future__ import annotations

import os
from pathlib import Path

from coldstart_sdk.backends.modal import environ
from coldstart_sdk.backends.modal.worker import Worker

if __name__ == "__main__":
    os.environ.update(environ.in_image(os.environ))
    Worker(Path.cwd()).build()
