"""Run the benchmarks, each in a process of its own: `python -m benchmarks [NAME ...] [-- ARGUMENT ...]`, all by default."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.running import ROOT

NAMES = ("extraction", "clouds", "sampling", "feed", "ranks", "mapping", "scaling", "polar")


def main() -> None:
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    unknown = [name for name in words[:end] if name not in NAMES]
    if unknown:
        sys.exit(f"bench: no benchmark named {', '.join(unknown)}; there are {', '.join(NAMES)}")
    failed = []
    for name in words[:end] or NAMES:
        print(f"bench: {name}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", *words[end + 1 :]]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"bench: failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
