"""Load a CLIP from any of its sources and freeze it.

Sources: OpenAI's published names (through the `clip` package: download, checksum, cache folder), a weight
file of the user's (OpenAI's TorchScript archive or a state dict), and whatever is entered in `WEIGHTS`.
"""

from __future__ import annotations

import hashlib
import warnings
import zipfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from .image_tower import ImageTower
from .precision import Precision
from .text_tower import Prompts, TextTower

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    from clip import clip as openai_clip
    from clip.model import build_model

CACHE = Path("~/.cache/clip")
CONTEXT_LENGTH = 77
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

# Further weights by name, as functions that give a state dict in OpenAI's format.
WEIGHTS: dict[str, Callable[[], dict[str, Tensor]]] = {}
# Of those that have met only a part of the vocabulary, the token ids that they know.
VOCABULARY: dict[str, Callable[[], set[int]]] = {}


class FrozenCLIP:
    """A frozen CLIP with all that prompt learning asks of it.

    Attributes:
        name: what it was loaded as.
        resolution: side of the square images that it reads, pixels.
        width: w, width of the text transformer and so of a context vector.
        dim: d, dimension of the joint space.
        logit_scale: factor of the cosine similarities in a logit (about 100).
        dtype: type of its activations, and so of context vectors.
        image: the image tower.
        text: the text tower.
    """

    def __init__(self, model: nn.Module, precision: Precision, name: str = "CLIP"):
        self.model = model.eval().requires_grad_(False)
        self.name = name
        self.precision = precision
        self.resolution = int(model.visual.input_resolution)
        self.width = model.ln_final.weight.shape[0]
        self.dim = model.text_projection.shape[1]
        self.logit_scale = float(model.logit_scale.detach().exp())
        self.image = ImageTower(model.visual)
        self.text = TextTower(model)

    @property
    def device(self) -> torch.device:
        return self.model.text_projection.device

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    def encode_image(self, images: Tensor) -> Tensor:
        """L2-normalised image features of (B, 3, R, R) images, float32: (B, d)."""
        return normalise(self.image(images.to(self.device, self.dtype)).float())

    @torch.no_grad()
    def encode_texts(self, texts: list[str]) -> Tensor:
        """L2-normalised features of whole texts, float32: (len(texts), d). Too long a text is a ValueError."""
        tokens = tokenize(texts)
        length = int(tokens.argmax(dim=1).max()) + 1
        embedded = self.embed(tokens[:, :length])
        prompts = Prompts(embedded[:1, :1], embedded[None, :, 1:], tokens.argmax(dim=1))
        return normalise(self.text(prompts)[0].float())

    @torch.no_grad()
    def embed(self, ids: Tensor) -> Tensor:
        """Token embeddings, (*) -> (*, w)."""
        return self.model.token_embedding(ids.to(self.device)).to(self.dtype)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of all weights and their precision; equal digests give equal features."""
        digest = hashlib.sha256(self.precision.name.encode())
        for key, value in self.model.state_dict().items():
            raw = value.detach().cpu().contiguous().flatten().view(torch.uint8)
            digest.update(f"{key} {tuple(value.shape)} {value.dtype}".encode())
            digest.update(raw.numpy().data)
        return digest.hexdigest()


def load_clip(name: str, path: str = "", precision: str = "fp32", device: str | torch.device = "cpu") -> FrozenCLIP:
    """Load and freeze a CLIP.

    Args:
        name: one of OpenAI's names ("ViT-B/16"), or a name entered in `WEIGHTS`.
        path: a weight file; if given, it is read and `name` only names it.
        precision: fp32, fp16, amp or bf16 (see `Precision`).
        device: where it computes.

    Raises:
        ValueError: unknown name or precision, or a file that is not CLIP's.
        FileNotFoundError: no such file, or weights that are neither cached nor to be downloaded.
    """
    chosen = Precision.choose(precision, device)
    if path:
        state_dict = read_state_dict(path)
        name = name or Path(path).stem
    elif name in WEIGHTS:
        state_dict = WEIGHTS[name]()
    else:
        state_dict = read_state_dict(download(name))
    try:
        model = build_model(dict(state_dict))
    except (KeyError, RuntimeError, IndexError, ZeroDivisionError) as error:
        raise ValueError(
            f"the weights {path or name} are not those of an OpenAI CLIP ({_first_line(error)}): "
            "give a state dict with OpenAI's keys"
        ) from error
    if chosen.weights == torch.float32:
        # The builder rounds to half on the way; a file in float32 gets its precision back.
        model.float().load_state_dict(state_dict, strict=False)
    return FrozenCLIP(model.to(device), chosen, name)


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a weight file in OpenAI's format: a TorchScript archive or a saved state dict.

    Raises:
        FileNotFoundError, ValueError: with one sentence that names the file.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no CLIP weight file at {path}: check MODEL.BACKBONE.PATH")
    try:
        if _is_torchscript(path):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # OpenAI's files stay in this format
                tensors = torch.jit.load(str(path), map_location="cpu").state_dict()
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise ValueError(
            f"{path} cannot be read as CLIP weights ({_first_line(error)}): it is damaged or of another kind"
        ) from error
    if isinstance(tensors, dict) and isinstance(tensors.get("state_dict"), dict):
        tensors = tensors["state_dict"]
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise ValueError(f"{path} holds no state dict: save model.state_dict() there")
    tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    for key in ("input_resolution", "context_length", "vocab_size"):  # facts that archives carry beside
        tensors.pop(key, None)
    return tensors


def download(name: str, cache: Path = CACHE) -> Path:
    """The cached weight file of one of OpenAI's models; fetched and checked against its SHA-256 if needed.

    Raises:
        ValueError: an unknown name.
        FileNotFoundError: neither cached nor reachable, with the place where the file can be put by hand.
    """
    known = openai_clip._MODELS
    if name not in known:
        raise ValueError(
            f"unknown CLIP {name!r} in MODEL.BACKBONE.NAME: choose one of {', '.join([*known, *WEIGHTS])}, "
            "or give a weight file in MODEL.BACKBONE.PATH"
        )
    cache = cache.expanduser()
    file = cache / Path(known[name]).name
    try:
        return Path(openai_clip._download(known[name], str(cache)))
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"the weights of {name} are not at {file} and could not be downloaded ({_first_line(error)}): "
            f"put the file there, or name another in MODEL.BACKBONE.PATH"
        ) from error


def tokenize(texts: str | list[str]) -> Tensor:
    """CLIP's byte-pair tokens with start, EOT and zero padding, (len(texts), 77); a long text is a ValueError."""
    try:
        return openai_clip.tokenize(texts).long()
    except RuntimeError as error:
        raise ValueError(f"{_first_line(error)}: shorten the text") from error


def encode_words(text: str) -> list[int]:
    """Token ids of a text, without start and EOT."""
    return openai_clip._tokenizer.encode(text)


def normalise(features: Tensor) -> Tensor:
    """Features of unit length along the last dimension."""
    return features / features.norm(dim=-1, keepdim=True)


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".:")


SOS_ID, EOT_ID = tokenize("")[0, :2].tolist()
