"""What lets the plug-in run where no Dassl is installed: `dassl`, the toolbox's API.

Importing this package appends its folder to the END of `sys.path`, so that `import dassl` finds the one here
only where no other is installed: an installed upstream Dassl wins, and there is no other switch.
"""

import os
import sys

_FOLDER = os.path.dirname(os.path.abspath(__file__))
if _FOLDER not in sys.path:
    sys.path.append(_FOLDER)
