"""The plug-in for Dassl: its trainers, thin, over the library. Importing a module registers what it holds."""

import embedded  # noqa: F401  an installed Dassl wins over the embedded one
