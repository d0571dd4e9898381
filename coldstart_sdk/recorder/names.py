"""How what the recorder sees is called in a trace; whoever reads one uses these names.

Parts of a step are called `kind:what`. What was seen while a request was answered has `REQUEST` for its
step. Counts belong to a step; facts to the machine.
"""

from __future__ import annotations

REQUEST = "request"

IMPORT = "import"
"""`import:numpy`: one top-level package, with what it imported itself."""
DOWNLOAD, UPLOAD = "download", "upload"
"""`download:host`: one connection that brought, or took, most of its bytes."""
READ, MOVE = "read", "move"
"""`read:file` into tensors; `move:device`."""
CALL = "call"
"""`call:speak(text=12)`: an endpoint, and the shape of what it was given."""
RUN = "run"
"""`run:g++`: a program that was started, of those that compile, fetch or install."""
COMPILERS = frozenset(
    {
        *("cc", "c++", "gcc", "g++", "clang", "clang++", "nvcc", "hipcc", "ptxas", "rustc"),
        *("make", "cmake", "ninja", "cargo", "setup.py"),
    }
)
FETCHERS = frozenset(
    {
        *("curl", "wget", "aria2c", "git", "rclone", "hf", "huggingface-cli"),
        *("aws", "s5cmd", "gsutil", "gcloud"),
    }
)
INSTALLERS = frozenset({"pip", "pip3", "uv"})
COMPILE = "compile"
"""`compile:torch`: a graph that was compiled in the process."""
DELETE = "delete"
"""`delete:folder`, `delete:120 files`."""

SOURCES, SOURCES_S = "sources_compiled", "sources_compiled_s"
"""Python files that had no usable bytecode."""
INITS, INITS_S = "random_inits", "random_inits_s"
"""Tensors that were filled with random numbers."""
DEVICE_ASKED = "device_asked"
"""How often it was asked whether there is a GPU."""
FAULTS = "major_faults"
"""Pages that had to be read from a disk on first touch."""
CONNECTIONS = "connections"
"""The most that were open at once."""
CACHE_HITS, CACHE_MISSES, CACHE_BYPASSES = "compile_hits", "compile_misses", "compile_bypasses"
RECOMPILES = "recompiles"
CACHEABLE_S = "compile_cacheable_s"
"""Seconds of compiling that a hit would have spared."""

THREADS = "threads"
"""Fact: how many threads the numeric libraries were told to use, the largest."""
THROTTLED = "throttled_s"
"""Fact: how long the quota stopped this process before READY."""
PERIODS, THROTTLED_PERIODS = "quota_periods", "quota_periods_throttled"
WEIGHTS_ON = "weights_on"
"""Fact: the kind of file system that the weights lie on."""
HF_TOKEN = "hf_token"  # noqa: S105 - whether there is one, not which
UNUSED = "imports_unused"
"""Fact: packages that the project's own files import and never name again."""
USED = "imports_used"
LATE_ENV = "late_env"
"""Fact: `VARIABLE>package`: set only after the package that reads it was imported."""
KEY = "cache_key"
"""Fact: `part=value;…`, what a compile cache's key was made of."""
KEY_BEFORE = "cache_key_before"
"""Fact: the same at the last start of this model here."""
