"""A page to try a model by hand: images in, the five most probable classes, unknown ones, the nearest training images;
classes added, renamed and taken out, and the change seen at once. It listens to this machine alone, and keeps nothing:
images stay in memory while they are looked at, changed classes until the page is closed with Ctrl-C."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from ..errors import UserError
from ..extras import imported

if TYPE_CHECKING:
    from ..bundle import Classifier

HOST = "127.0.0.1"


def serve(model: Classifier, port: int = 8000, photos: str = "") -> None:
    """Serve the page until the process is interrupted.

    Args:
        model: which is changed as the page is told to, and not saved.
        port: of 127.0.0.1; 0: any that is free.
        photos: folder of the training images, to show the nearest; empty: where they were.

    Raises:
        UserError: a package that is not installed, or a port that is taken.
    """
    imported("starlette", "demo", "the page")
    uvicorn = imported("uvicorn", "demo", "the page")
    from .desk import Desk
    from .server import application

    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
            listening.listen()  # before it is told, so that the page opens at once
        except (OSError, OverflowError) as error:
            raise UserError(
                f"port {port} of {HOST} cannot be taken ({error}): give another --port, or 0 for any"
            ) from error
        port = listening.getsockname()[1]
        print(f"The page is at http://{HOST}:{port} (Ctrl-C ends it; nothing is kept)", flush=True)
        desk = Desk(model, photos)
        if desk.root is None or not desk.root.is_dir():
            print("Note: the training images are not where they were, so the nearest ones are named alone: "
                  "give their folder (--photos)", flush=True)  # fmt: skip
        app = application(desk)
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listening])
