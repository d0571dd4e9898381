"""Does `explain` keep its promises? Projects with one known waste each, and the same ones mended.

For each pair: the saving that the rule predicts from starts of the wasteful one, beside what mending it
really saved; both are medians of interleaved starts. The clean project must be left alone by every rule.

    python -m benchmarks.promises --rounds 3
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from benchmarks.broken import Pair, Ran, Workshop, clean, machine_pairs, origin, pairs
from benchmarks.paired import machine


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--waste", type=float, default=2.0, metavar="SECONDS", help="of each project")
    parser.add_argument("--only", action="append", metavar="RULE")
    said = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder, origin() as address:
        workshop, kept = Workshop(Path(folder), said.waste), 0
        every = [pair for pair in (*pairs(address, said.waste), *machine_pairs()) if pair.is_priced]
        found = [pair for pair in every if not said.only or pair.rule in said.only]
        for pair in found:
            kept += _judge(workshop, pair, said.rounds)
        blameless = clean(address, said.waste)
        fired = {rule for _ in range(said.rounds) for rule in workshop.run("clean", blameless).fired}
        told = ", ".join(sorted(fired)) or "none"
        print(f"{kept} of {len(found)} promises kept within 20 %; rules that the clean project met: {told}")


def _judge(workshop: Workshop, pair: Pair, rounds: int) -> bool:
    wasteful, mended, promised = [], [], []
    fired: set[str] = set()
    for _ in range(rounds):
        one = workshop.look(pair, pair.wasteful)
        wasteful.append(_took_s(one, pair))
        mended.append(_took_s(workshop.look(pair, pair.mended), pair))
        promised.append(one.promised.get(pair.rule, 0.0))
        fired |= one.fired - {pair.rule}
    saved_s = statistics.median(wasteful) - statistics.median(mended)
    promise_s = statistics.median(promised)
    ratio = promise_s / saved_s if saved_s > 0 else float("nan")
    print(
        f"{pair.rule:<26} promised {promise_s:6.3f} s, saved {saved_s:6.3f} s, ratio {ratio:5.2f}"
        f"   {'first' if pair.of_first else 'ready'} {statistics.median(wasteful):.2f} > "
        f"{statistics.median(mended):.2f} s{'   also fired: ' + ', '.join(sorted(fired)) if fired else ''}",
        flush=True,
    )
    return 0.8 <= ratio <= 1.2


def _took_s(ran: Ran, pair: Pair) -> float:
    return ran.first_s if pair.of_first else ran.ready_s - pair.beside_import * ran.import_s


if __name__ == "__main__":
    main()
