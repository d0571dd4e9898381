"""Start a small speech class cold, twice, and show where the time went: `python -m examples.demo`.

First on a machine that has nothing, with an empty store: engine and voices come from an origin, over a link
that is held to a fixed speed, and fill the store once the class is ready. Then on another machine that has
nothing: they come from the store, an S3 bucket on loopback over a link of its own, and the origin is not
asked. Every byte is verified both times.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from coldstart_sdk.rehearsal.origin import Origin
from coldstart_sdk.rehearsal.s3 import S3
from coldstart_sdk.trace.model import Trace
from coldstart_sdk.trace.svg import render_svg
from examples.demo.pack import Packed, pack
from examples.demo.start import BUCKET, Links, Sound, Started, Wish, listen, start

LINK_BYTES_S = 4_000_000
"""Slow on purpose: on this machine's own loopback the fetch would be over before it could be seen."""
STORE_LINK_BYTES_S = 4 * LINK_BYTES_S
"""A bucket beside the worker is nearer than whoever publishes; how much nearer is a choice of ours."""
FILLED_WITHIN_S = 60.0
OUT = Path("build/demo")
AUDIBLE = 0.05
"""Of full scale; a wav below it is as good as silent."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the first start as an SVG file")
    picture = parser.parse_args().picture
    OUT.mkdir(parents=True, exist_ok=True)
    wishes = (
        Wish(
            text="Hello. A moment ago, nothing of me was on this machine.",
            wav=OUT / "first.wav",
            trace=OUT / "first.json",
        ),
        Wish(
            text="Hello again. This time, all of me came from a warm store.",
            wav=OUT / "second.wav",
            trace=OUT / "second.json",
        ),
    )
    try:
        first, second = _start_twice(*wishes)
    except subprocess.CalledProcessError as failed:
        print("\nThe start failed; its reason stands above.")
        return int(failed.returncode)
    sounds = [listen(wish.wav) for wish in wishes]
    if picture:
        picture.write_text(render_svg(Trace.from_json(wishes[0].trace.read_text("utf-8"))), "utf-8")
    _tell(first, second)
    for wish, sound in zip(wishes, sounds, strict=True):
        _tell_sound(wish, sound)
    problems = _problems(first, second, sounds)
    for problem in problems:
        print(f"wrong     {problem}")
    return 1 if problems else 0


def _start_twice(first: Wish, second: Wish) -> tuple[Started, Started]:
    with tempfile.TemporaryDirectory(prefix="coldstart-demo-") as scratch:
        folder = Path(scratch)
        published = folder / "origin"
        published.mkdir()
        packed = pack(published)
        with (
            Origin(published, rate_bytes_s=LINK_BYTES_S, process=True) as origin,
            S3(folder / "store", rate_bytes_s=STORE_LINK_BYTES_S) as store,
        ):
            _tell_packed(packed)
            links = Links(origin=origin, store=store, archive=packed.path.name, sha256=packed.sha256)
            print("\nFirst start: this machine has none of the files, and neither has the store.")
            cold = start(first, links, home=folder / "one machine")
            _wait_for(store)
            print("\nSecond start: another machine has none of the files; the store has them now.")
            again = start(second, links, home=folder / "another machine")
    return cold, again


def _wait_for(store: S3) -> None:
    """The upload goes on by itself after the worker has ended; what it writes last is a ref."""
    ends_s = time.monotonic() + FILLED_WITHIN_S
    while not any("/refs/" in key for key in store.keys(BUCKET)):
        if time.monotonic() > ends_s:
            raise RuntimeError(f"the store was not filled within {FILLED_WITHIN_S:g} s")
        time.sleep(0.05)


def _tell_packed(packed: Packed) -> None:
    print(f"packed    espeak-ng and its voices: {packed.files} files, {packed.bytes / 1e6:.1f} MB")
    print(f"serving   them on 127.0.0.1 at {LINK_BYTES_S / 1e6:g} MB/s, which is slow on purpose")
    print(f"serving   an empty S3 store on 127.0.0.1 at {STORE_LINK_BYTES_S / 1e6:g} MB/s")


def _tell(first: Started, second: Started) -> None:
    share = second.fetched_bytes / second.fetch_s / STORE_LINK_BYTES_S
    print()
    print(f"ready     {first.ready_s:.2f} s the first time, {second.ready_s:.2f} s the second")
    print(f"tier      {first.tier} the first time, {second.tier} the second, at {share:.0%} of its link")
    print(f"origin    sent {first.bytes:,} bytes the first time, {second.bytes:,} the second")


def _tell_sound(wish: Wish, sound: Sound) -> None:
    print(
        f"wrote     {wish.wav}: {sound.duration_s:.1f} s of sound at {sound.rate:,} Hz,"
        f" loudest at {sound.loudest:.0%} of full scale"
    )


def _problems(first: Started, second: Started, sounds: list[Sound]) -> list[str]:
    """What did not happen as the demo says it does."""
    problems = [f"{sound} is silent or too short" for sound in sounds if not _is_speech(sound)]
    if not first.bytes:
        problems.append("the first start fetched nothing")
    if second.asked:
        problems.append(f"the second start asked the origin {second.asked} times")
    if second.tier != "store":
        problems.append(f"the second start was served by the {second.tier}")
    return problems


def _is_speech(sound: Sound) -> bool:
    return sound.duration_s > 1 and sound.loudest > AUDIBLE


if __name__ == "__main__":
    sys.exit(main())
