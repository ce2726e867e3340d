"""The model and photographs of tests/in_use."""

from tests.in_use.conftest import chosen, chosen_folder, others, photos

__all__ = ["chosen", "chosen_folder", "others", "photos"]
