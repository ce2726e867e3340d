from typing import Any

__all__ = ["INTERPOLATION_MODES", "build_transform"]


def __getattr__(name: str) -> Any:
    """When first asked for: torchvision takes as long to import as torch, and much ends before an image is read."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import transforms

    return getattr(transforms, name)
