"""What a recommendation costs: in process by stage and over HTTP, over a real Redis, while the state goes on learning.

`python -m bench.recommend_latency` measures at 10,000 and 100,000 items (`bench/recommend_timing.py`). A process of its
own appends 100 actions a second to the sequence, which the measured process takes in meanwhile; another sends the
requests over HTTP. With `--stages` it says where the time of one slate goes instead (`bench/recommend_stages.py`).

In a fresh clone most of the time went to compiling, module after module, before a word was said: that is done first
here, by two processes, and told. Whatever is done is told on standard error, with the seconds so far.
"""

from __future__ import annotations

import argparse
import sys
import time
from importlib import import_module

from bench.figures import show
from headrace import compile_ahead

ITEMS = (10_000, 100_000)
INTERACTIONS = 300_000


class Progress:
    """Says what is being done, and how many seconds after the beginning."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()

    def say(self, what: str) -> None:
        """What is being done from now on."""
        print(f"{time.monotonic() - self._began_s:6.0f} s  {what} …", file=sys.stderr, flush=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, nargs="*", default=list(ITEMS))
    parser.add_argument("--interactions", type=int, default=INTERACTIONS)
    parser.add_argument("--stages", action="store_true", help="only where the time of one slate goes, part by part")
    given = parser.parse_args()
    say = Progress().say
    say("compiling what is not compiled yet")
    compile_ahead.main()
    # Importing it compiles, in this process alone, whatever is left.
    timing = import_module("bench.recommend_timing")
    measuring = timing.measure_stages if given.stages else timing.measure
    show("recommending", measuring(tuple(given.items), given.interactions, say))


if __name__ == "__main__":
    main()
