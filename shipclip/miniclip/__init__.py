"""MiniCLIP, a miniature CLIP that needs no download, and the rendered world that it was trained on (see README.md)."""
