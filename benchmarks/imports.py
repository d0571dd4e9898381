"""What importing us costs, over a bare interpreter: `python -m benchmarks.imports [ROUNDS]`.

CPU seconds of whole processes, interleaved; the difference is taken round by round. The bounds that the
project holds itself to are printed beside the figures; nothing fails here, a test pins what is imported.
"""

from __future__ import annotations

import sys

from benchmarks.paired import cpu_s, machine, spread

BARE = (sys.executable, "-c", "pass")
CASES = {
    "import coldstart_sdk": ((sys.executable, "-c", "import coldstart_sdk"), 50),
    "the declaration's names": (
        (sys.executable, "-c", "from coldstart_sdk import Audio, Scale, Weights, endpoint, hook, warm_model"),
        50,
    ),
    "the worker half": ((sys.executable, "-c", "import coldstart_sdk.backends.local.worker"), 50),
    "coldstart --help": ((sys.executable, "-m", "coldstart_sdk.cli", "--help"), 300),
}


def main(rounds: int) -> None:
    print(f"{machine()}, {rounds} interleaved rounds, CPU ms over a bare interpreter (median, least–most)")
    over: dict[str, list[float]] = {name: [] for name in CASES}
    bare = []
    for _ in range(rounds):
        bare.append(cpu_s(BARE))
        for name, (command, _bound) in CASES.items():
            over[name].append(1000 * (cpu_s(command) - bare[-1]))
    print(f"{'bare interpreter':<28}{spread([1000 * each for each in bare])!s:>32}")
    for name, (_command, bound) in CASES.items():
        print(f"{name:<28}{spread(over[name])!s:>32}   held to {bound}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
