"""Trainers for Dassl: ZeroshotCLIP, CoOp, CoCoOp and SHIP. Importing one of the modules registers it."""

from embedded import miniclip
from trainers.prompting.clip import WEIGHTS

WEIGHTS["MiniCLIP"] = miniclip.load_state_dict
