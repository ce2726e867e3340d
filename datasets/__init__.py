"""Data sets in CoOp's layout, and the user's own. Importing this package registers them with Dassl."""

import embedded  # noqa: F401  an installed Dassl wins over the embedded one

from . import (  # noqa: F401
    caltech101,
    dtd,
    eurosat,
    fgvc_aircraft,
    food101,
    gzsl,
    image_folder,
    imagenet,
    miniworld,
    oxford_flowers,
    oxford_pets,
    stanford_cars,
    sun397,
    ucf101,
)
