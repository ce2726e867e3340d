"""SHIP as a plug-in for Dassl: `import trainers.ship` registers its trainers and makes their config keys known.

The keys go into Dassl's live default tree, so that a train.py which has never heard of SHIP (CoOp's, say) can merge
SHIP's YAML files after this one import.
"""

from dassl.config import cfg_default

from . import learners  # noqa: F401  registers them
from .config import extend_cfg
from .trainer import SHIP, SHIPGenerator

extend_cfg(cfg_default)

__all__ = ["SHIP", "SHIPGenerator", "extend_cfg"]
