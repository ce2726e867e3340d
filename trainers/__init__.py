"""Trainers for Dassl: ZeroshotCLIP, CoOp, CoCoOp, SHIP and the learners. Importing one of the modules registers it."""

from embedded import miniclip
from trainers.prompting.clip import VOCABULARY, WEIGHTS

WEIGHTS["MiniCLIP"] = miniclip.load_state_dict
VOCABULARY["MiniCLIP"] = miniclip.trained_token_ids
