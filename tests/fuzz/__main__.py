"""Fuzz for longer, led by the code that is reached: `python -m tests.fuzz --minutes 5 [--target NAME]`.

Needs atheris (extra `fuzz`). Each target runs in a process of its own for an equal share of the time; the bytes that
led to a fault are left in `fuzz/`, which git ignores, beside what was learned for the next time.
"""

import argparse
import subprocess
import sys
import warnings
from pathlib import Path

FOLDER = Path("fuzz")


def main() -> None:
    """Run one target, or all in turn; exits 1 where one has a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="in all")
    parser.add_argument("--target", help="only this one")
    arguments = parser.parse_args()
    if arguments.target:
        _fuzz(arguments.target, round(60 * arguments.minutes))
        return
    from tests.fuzz.targets import TARGETS

    each, failed = str(arguments.minutes / len(TARGETS)), []
    for name in TARGETS:
        command = [sys.executable, "-m", "tests.fuzz", "--target", name, "--minutes", each]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    sys.exit(f"faults in {', '.join(failed)}: see {FOLDER}/" if failed else 0)


def _fuzz(name: str, seconds: int) -> None:
    import atheris

    with atheris.instrument_imports(include=["flows", "tasks", "models", "storage"]):
        from tests.fuzz.targets import TARGETS

    warnings.simplefilter("ignore")
    check, seeds = TARGETS[name]
    corpus = FOLDER / name.replace(" ", "-")
    corpus.mkdir(parents=True, exist_ok=True)
    for place, seed in enumerate(seeds):
        (corpus / f"seed-{place}").write_bytes(seed)
    found = f"-artifact_prefix={corpus}-fault-"
    atheris.Setup([sys.argv[0], f"-max_total_time={max(1, seconds)}", "-timeout=30", found, str(corpus)], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
