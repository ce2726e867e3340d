"""python -m datasets.prepare: see shipclip/data/prepare.py."""

import sys

from shipclip.data.prepare import main

if __name__ == "__main__":
    sys.exit(main())
