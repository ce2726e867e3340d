"""python -m datasets.check: see shipclip/data/check.py."""

import sys

from shipclip.data.check import main

if __name__ == "__main__":
    sys.exit(main())
