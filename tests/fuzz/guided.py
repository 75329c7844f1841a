"""`make fuzz`, second part: cases that atheris leads to code which none before has reached.

`guided.py <seconds>` takes the readers of bytes in test_readers.py, one after the other, for so
long each. What hypothesis draws for them is decided by atheris, which sees the branches that a case
takes in our code. Ends at the first case that it should not have survived: what led to it is kept
in runs/fuzz, and `guided.py run <reader> <file>` runs it again.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import atheris

KEPT = Path(__file__).resolve().parents[2] / "runs" / "fuzz"
READERS = (
    *("moses", "moses_zip", "tmx", "conll", "conll_repaired", "jsonl", "label_studio", "parquet"),
    *("pseudo_bytes", "wikipedia", "wikitext", "title_tables", "wikidata", "names_csv"),
    *("names_json", "recipe_project_corpus", "shard"),
)
_TELL_EVERY = 1000


def fuzz(name: str, *options: str) -> None:
    """Run one reader, with options of libFuzzer, which ends this process."""
    # What numba compiles cannot be instrumented.
    compiled = ["xner.models.batching", "xner.models.hmm_kernels"]
    with atheris.instrument_imports(include=["xner"], exclude=compiled):
        import test_readers

    counts = Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        run = test_readers.checked(test_readers.READERS[name], Path(folder), counts)
        draw = run.hypothesis.fuzz_one_input  # type: ignore[attr-defined]

        def one(choices: bytes) -> None:
            before = counts["cases"]
            draw(choices)
            # Of too few choices no case comes.
            if counts["cases"] > before and counts["cases"] % _TELL_EVERY == 0:
                print(f"{name}: {counts['cases']} cases, {counts['read']} read", flush=True)

        atheris.Setup([sys.argv[0], *options], one)
        atheris.Fuzz()


def fuzz_all(seconds: str) -> None:
    """Each reader in a process of its own."""
    KEPT.mkdir(parents=True, exist_ok=True)
    for name in READERS:
        with tempfile.TemporaryDirectory() as seeds:
            for number in range(32):
                # Long enough to draw a case from.
                Path(seeds, str(number)).write_bytes(random.Random(number).randbytes(512))
            options = [f"-max_total_time={seconds}", f"-artifact_prefix={KEPT}/{name}-", seeds]
            command = [sys.executable, __file__, "run", name, "-max_len=1024", "-verbosity=0"]
            if subprocess.run([*command, *options]).returncode:
                sys.exit(f"{name}: failed; see above, and {KEPT}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["run", name, *options]:
            fuzz(name, *options)
        case [seconds]:
            fuzz_all(seconds)
        case _:
            sys.exit(__doc__)
