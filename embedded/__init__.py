"""What lets the project run with nothing else at hand: `dassl` (the toolbox's API) and `miniclip` (a small
CLIP).

Importing this package appends its folder to the END of `sys.path`, so that `import dassl` finds the one here
only where no other is installed: an installed upstream Dassl wins, and there is no other switch.
"""

import os
import sys

_FOLDER = os.path.dirname(os.path.abspath(__file__))
if _FOLDER not in sys.path:
    sys.path.append(_FOLDER)
