"""The MAP's entry: checks that the image is what was packaged, then runs theramap, which is installed."""

import sys

from app.packaging.start import main

sys.exit(main(sys.argv[1:]))
