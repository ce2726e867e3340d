"""The part of Dassl's API that prompt-learning trainers use, written anew for today's torch.

Import paths, names and behaviour follow KaiyangZhou/Dassl.pytorch 0.6.3, whose last release no longer runs on
torch >= 2.7. An installed upstream Dassl takes precedence over this package (see `embedded/__init__.py`).
"""

__version__ = "0.6.3+embedded"
