"""Data sets in CoOp's layout. Importing this package registers them with Dassl."""

import embedded  # noqa: F401  an installed Dassl wins over the embedded one

from . import caltech101, eurosat, miniworld, oxford_pets  # noqa: F401
