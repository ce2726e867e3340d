"""Where the published data sets come from. URLs and checksums are those of the data sets' own pages, of torchvision
and of TensorFlow Datasets; Google Drive files are CoOp's."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Archive:
    """A file to download and unpack.

    Attributes:
        url: where it is.
        checksum: "md5:..." or "sha256:..."; empty where none is published.
        into: folder below the data root that it is unpacked into.
        creates: what is there afterwards, below the data root.
    """

    url: str
    checksum: str
    into: str
    creates: str

    @property
    def file(self) -> str:
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Source:
    """How a data set is had.

    Attributes:
        folder: of the data set, below the data root.
        size: of the downloads.
        licence: what its authors allow.
        torchvision: the class of torchvision that downloads it.
        moves: torchvision's folders and files, to their places below `folder`.
        archives: further downloads.
        drive: files on CoOp's Google Drive, place below `folder` to id.
        by_hand: what nobody may fetch for you: place below `folder` to what to do.
        finish: a last touch.
    """

    folder: str
    size: str
    licence: str
    torchvision: str = ""
    moves: dict[str, str] = field(default_factory=dict)
    archives: tuple[Archive, ...] = ()
    drive: dict[str, str] = field(default_factory=dict)
    by_hand: dict[str, str] = field(default_factory=dict)
    finish: Callable[[Path], None] | None = None


def name_flowers(folder: Path) -> None:
    """Class names from torchvision, where CoOp's file is not there."""
    from torchvision.datasets import Flowers102

    file, names = folder / "cat_to_name.json", getattr(Flowers102, "classes", None)
    if names and not file.is_file():
        file.write_text(json.dumps({str(number): name for number, name in enumerate(names, start=1)}, indent=1))


RESEARCH = "non-commercial research"
CLASSNAMES = {"classnames.txt": "1-61f_ol79pViBFDG_IDlUQSwoLcn2XXF"}
IMAGENET_NAMES = {
    "../imagenet/classnames.txt": "python -m datasets.prepare ImageNet --root {root} tells how to get classnames.txt"
}
XLSA = "https://datasets.d2.mpi-inf.mpg.de/xian/xlsa17.zip"

SOURCES: dict[str, Source] = {
    "ImageNet": Source(
        "imagenet",
        "155 GB",
        f"{RESEARCH}, with an account",
        drive=CLASSNAMES,
        by_hand={
            "images/train": "log in at https://image-net.org, download ILSVRC2012_img_train.tar (md5 "
            "1d675b47d978889d74fa0da5fadfb00e) and unpack it, and each class's archive in it, to {folder}/images/train",
            "images/val": "the same with ILSVRC2012_img_val.tar (md5 29b22e2961454d5413ddabcf34fc5622) to "
            "{folder}/images/val, its images sorted into a folder a class (torchvision.datasets.ImageNet does that)",
        },
    ),
    "Caltech101": Source(
        "caltech-101",
        "137 MB",
        "CC BY 4.0",
        torchvision="Caltech101",
        moves={"caltech101/101_ObjectCategories": "101_ObjectCategories"},
        drive={"split_zhou_Caltech101.json": "1hyarUivQE36mY6jSomru6Fjd-JzwcCzN"},
    ),
    "OxfordPets": Source(
        "oxford_pets",
        "0.8 GB",
        "CC BY-SA 4.0",
        torchvision="OxfordIIITPet",
        moves={"oxford-iiit-pet/images": "images", "oxford-iiit-pet/annotations": "annotations"},
        drive={"split_zhou_OxfordPets.json": "1501r8Ber4nNKvmlFVQZ8SeUHTcdTTEqs"},
    ),
    "StanfordCars": Source(
        "stanford_cars",
        "1.9 GB",
        RESEARCH,
        drive={"split_zhou_StanfordCars.json": "1ObCFbaAgVu0I-k_Au-gIUcefirdAuizT"},
        by_hand={
            "cars_train": "the authors' server is gone: search for a mirror of cars_train.tgz and unpack it to "
            "{folder}/cars_train",
            "cars_test": "the same with cars_test.tgz, to {folder}/cars_test",
            "devkit": "the same with car_devkit.tgz, to {folder}/devkit",
            "cars_test_annos_withlabels.mat": "the same, to {folder}/cars_test_annos_withlabels.mat",
        },
    ),
    "OxfordFlowers": Source(
        "oxford_flowers",
        "0.35 GB",
        "research; the images belong to their photographers",
        torchvision="Flowers102",
        moves={"flowers-102/jpg": "jpg", "flowers-102/imagelabels.mat": "imagelabels.mat"},
        drive={
            "split_zhou_OxfordFlowers.json": "1Pp0sRXzZFZq15zVOzKjKBu4A9i01nozT",
            "cat_to_name.json": "1AkcxCXeK_RCGCEC_GvmWxjcjaNhu-at0",
        },
        finish=name_flowers,
    ),
    "Food101": Source(
        "food-101",
        "5 GB",
        "research; the images belong to Foodspotting's users",
        torchvision="Food101",
        moves={"food-101/images": "images", "food-101/meta": "meta"},
        drive={"split_zhou_Food101.json": "1QK0tGi096I0Ba6kggatX1ee6dJFIcEJl"},
    ),
    "FGVCAircraft": Source(
        "fgvc_aircraft",
        "2.6 GB",
        RESEARCH,
        torchvision="FGVCAircraft",
        moves={"fgvc-aircraft-2013b/data": ""},
    ),
    "SUN397": Source(
        "sun397",
        "39 GB",
        RESEARCH,
        torchvision="SUN397",
        moves={"SUN397": "SUN397"},
        archives=(
            Archive(
                "https://vision.princeton.edu/projects/2010/SUN/download/Partitions.zip",
                "sha256:e3311ea5f812d4cc6faef194688343d1111f6cd6f70f2c62f393c2b8d6ba1ec9",
                into="sun397",
                creates="sun397/ClassName.txt",
            ),
        ),
        drive={"split_zhou_SUN397.json": "1y2RD81BYuiyvebdN-JymPfyWYcd8_MUq"},
    ),
    "DescribableTextures": Source(
        "dtd",
        "0.6 GB",
        "research",
        torchvision="DTD",
        moves={"dtd/dtd/images": "images", "dtd/dtd/labels": "labels", "dtd/dtd/imdb": "imdb"},
        drive={"split_zhou_DescribableTextures.json": "1u3_QfB467jqHgNXC00UIzbLZRQCg2S7x"},
    ),
    "EuroSAT": Source(
        "eurosat",
        "90 MB",
        "MIT",
        torchvision="EuroSAT",
        moves={"eurosat/2750": "2750"},
        drive={"split_zhou_EuroSAT.json": "1Ip7yaCWFi0eaOFUGga0lUdVi_DDQth1o"},
    ),
    "UCF101": Source(
        "ucf101",
        "0.2 GB",
        "research",
        drive={"split_zhou_UCF101.json": "1I0S0q91hJfsV9Gf4xDIjgDq4AqBNJb1y"},
        by_hand={
            "UCF-101-midframes": "download UCF-101-midframes.zip from "
            "https://drive.google.com/file/d/10Jqome3vtUA2keJkNanAiFpgbyC9Hc2O and unpack it to {folder}"
        },
    ),
    "ImageNetV2": Source(
        "imagenetv2",
        "1.3 GB",
        "MIT",
        archives=(
            Archive(
                "https://huggingface.co/datasets/vaishaal/ImageNetV2/resolve/main/imagenetv2-matched-frequency.tar.gz",
                "sha256:a32004f9e773279307499059d320336a23ccdc62cb32063da29bae9bd04c122c",
                into="imagenetv2",
                creates="imagenetv2/imagenetv2-matched-frequency-format-val",
            ),
        ),
        by_hand=IMAGENET_NAMES,
    ),
    "ImageNetSketch": Source(
        "imagenet-sketch",
        "7 GB",
        "MIT",
        by_hand={
            "images": "download ImageNet-Sketch by a link of https://github.com/HaohanWang/ImageNet-Sketch and "
            "unpack it, so that {folder}/images holds a folder a class (n01440764, ...)",
            **IMAGENET_NAMES,
        },
    ),
    "ImageNetA": Source(
        "imagenet-adversarial",
        "0.7 GB",
        "MIT",
        archives=(
            Archive(
                "https://people.eecs.berkeley.edu/~hendrycks/imagenet-a.tar",
                "sha256:3bb3632277e6ba6392ea64c02ddbf4dd2266c9caffd6bc09c9656d28f012589e",
                into="imagenet-adversarial",
                creates="imagenet-adversarial/imagenet-a",
            ),
        ),
        by_hand=IMAGENET_NAMES,
    ),
    "ImageNetR": Source(
        "imagenet-rendition",
        "2.2 GB",
        "MIT",
        archives=(
            Archive(
                "https://people.eecs.berkeley.edu/~hendrycks/imagenet-r.tar",
                "sha256:18c6bf493b39a0d975d48e587437f562caab9c52ae6327dcfa9dd8eb54aa1b52",
                into="imagenet-rendition",
                creates="imagenet-rendition/imagenet-r",
            ),
        ),
        by_hand=IMAGENET_NAMES,
    ),
    "AWA2": Source(
        "Animals_with_Attributes2",
        "13 GB, splits 1.7 GB",
        "each image has its own Creative Commons licence",
        archives=(
            Archive(XLSA, "", into="", creates="xlsa17/data/AWA2"),
            Archive(
                "https://cvml.ista.ac.at/AwA2/AwA2-data.zip",
                "",
                into="",
                creates="Animals_with_Attributes2/JPEGImages",
            ),
        ),
    ),
    "CUB": Source(
        "CUB_200_2011",
        "1.2 GB, splits 1.7 GB",
        f"{RESEARCH} and teaching",
        archives=(
            Archive(XLSA, "", into="", creates="xlsa17/data/CUB"),
            Archive(
                "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
                "md5:97eceeb196236b17998738112f37df78",
                into="",
                creates="CUB_200_2011/images",
            ),
        ),
    ),
    "SUN": Source(
        "SUNAttributeDB",
        "1.8 GB, splits 1.7 GB",
        RESEARCH,
        archives=(
            Archive(XLSA, "", into="", creates="xlsa17/data/SUN"),
            Archive(
                "https://cs.brown.edu/~gmpatter/Attributes/SUNAttributeDB_Images.tar.gz",
                "",
                into="SUNAttributeDB",
                creates="SUNAttributeDB/images",
            ),
        ),
    ),
}
