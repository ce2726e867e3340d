"""python -m shipclip: see cli.py."""

import sys

from .cli import main

if __name__ == "__main__":  # worker processes import it as well
    sys.exit(main())
