"""SHIP as a plug-in for Dassl: `import trainers.ship` registers the trainer and makes its config keys known.

The keys go into Dassl's live default tree, so that a train.py which has never heard of SHIP (CoOp's, say) can
merge SHIP's YAML files after this one import.
"""

from dassl.config import cfg_default

from trainers.learners import LEARNERS
from trainers.prompting.config import extend_cfg as _extend_shared

from .config import extend_cfg
from .trainer import SHIP

_extend_shared(cfg_default)
for _name in LEARNERS.registered_names():
    LEARNERS.get(_name).extend_cfg(cfg_default)
extend_cfg(cfg_default)

__all__ = ["SHIP", "extend_cfg"]
