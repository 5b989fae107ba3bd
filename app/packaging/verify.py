"""``python -m app.packaging.verify``: whether the image is what was packaged; exit code 3 when not."""

from __future__ import annotations

import sys

from app.packaging.digests import verify
from app.packaging.errors import TamperedError
from app.packaging.layout import home

TAMPERED = 3


def main(arguments: list[str]) -> int:
    """Compare, and say so in one line."""
    try:
        count = verify(home(), everything="--all" in arguments)
    except TamperedError as error:
        print(error, file=sys.stderr)  # noqa: T201  for the person at the terminal
        return TAMPERED
    if "--quiet" not in arguments:
        print(f"{count} files are as they were packaged")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
