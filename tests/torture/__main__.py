"""``python -m tests.torture --kills 200 --seed 7``: the long form, exit status 1 after a violation."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from dataclasses import fields
from pathlib import Path

from tests.torture.run import Plan, torture


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    defaults = Plan()
    for name in ("kills", "seed", "senders", "rounds"):
        parser.add_argument(f"--{name}", type=int, default=getattr(defaults, name))
    parser.add_argument("--keep", type=Path, help="folder that is kept, for a look at the logs")
    options = parser.parse_args()
    known = {one.name for one in fields(Plan)}
    plan = Plan(**{name: value for name, value in vars(options).items() if name in known})
    folder = options.keep or Path(tempfile.mkdtemp(prefix="theramap-torture-"))
    report = torture(folder, plan, say=lambda line: print(line, flush=True))
    print("\n".join(report.lines()))
    if report.verdict.violations:
        print(f"logs: {folder}")
        return 1
    if options.keep is None:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
