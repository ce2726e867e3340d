from __future__ import annotations

import os.path as osp
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from dassl.utils import download_url, mkdir_if_missing
from dassl.utils.tools import extract_archive


class Datum:
    """One image: path, label, domain and class name, all read-only.

    Pickles name this class and its four underscored attributes; few-shot files of CoOp's users depend on both.
    Slots halve what a million of them take; other attributes can be set all the same.
    """

    __slots__ = ("__dict__", "_classname", "_domain", "_impath", "_label")

    def __getstate__(self) -> dict[str, Any]:
        state = {"_impath": self._impath, "_label": self._label, "_domain": self._domain, "_classname": self._classname}
        return {**state, **self.__dict__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def __init__(self, impath: str = "", label: int = 0, domain: int = 0, classname: str = ""):
        if not isinstance(impath, str):
            raise TypeError(f"an image's path is text, got {type(impath).__name__}")
        if not osp.isfile(impath):
            raise FileNotFoundError(f"there is no image {impath}: check the data folder against its split file")
        self._impath = impath
        self._label = label
        self._domain = domain
        self._classname = classname

    @property
    def impath(self) -> str:
        return self._impath

    @property
    def label(self) -> int:
        return self._label

    @property
    def domain(self) -> int:
        return self._domain

    @property
    def classname(self) -> str:
        return self._classname

    def __repr__(self) -> str:
        return f"Datum({self._impath!r}, label={self._label}, domain={self._domain}, classname={self._classname!r})"


class DatasetBase:
    """Lists of Datum for training (labelled x, unlabelled u), validation and test.

    Classes are those of `train_x`: their number is the largest label + 1.
    """

    dataset_dir = ""
    domains: Sequence[str] = ()

    def __init__(
        self,
        train_x: list[Datum] | None = None,
        train_u: list[Datum] | None = None,
        val: list[Datum] | None = None,
        test: list[Datum] | None = None,
    ):
        if not train_x:
            raise ValueError(f"{type(self).__name__} has no labelled training image: its classes are unknown")
        self._train_x, self._train_u, self._val, self._test = train_x, train_u, val, test
        self._num_classes = self.get_num_classes(train_x)
        self._lab2cname, self._classnames = self.get_lab2cname(train_x)

    @property
    def train_x(self) -> list[Datum]:
        return self._train_x

    @property
    def train_u(self) -> list[Datum] | None:
        return self._train_u

    @property
    def val(self) -> list[Datum] | None:
        return self._val

    @property
    def test(self) -> list[Datum]:
        return self._test

    @property
    def lab2cname(self) -> dict[int, str]:
        return self._lab2cname

    @property
    def classnames(self) -> list[str]:
        return self._classnames

    @property
    def num_classes(self) -> int:
        return self._num_classes

    @staticmethod
    def get_num_classes(data_source: list[Datum]) -> int:
        return max(item.label for item in data_source) + 1

    @staticmethod
    def get_lab2cname(data_source: list[Datum]) -> tuple[dict[int, str], list[str]]:
        """Label -> name in order of labels, and the names in that order."""
        names = {item.label: item.classname for item in data_source}
        mapping = {label: names[label] for label in sorted(names)}
        return mapping, list(mapping.values())

    def check_input_domains(self, source_domains: Sequence[str], target_domains: Sequence[str]) -> None:
        for domain in (*source_domains, *target_domains):
            if domain not in self.domains:
                raise ValueError(f"unknown domain {domain!r}: choose among {', '.join(self.domains)}")

    def download_data(self, url: str, dst: str, from_gdrive: bool = True) -> None:
        """Fetch an archive to `dst` and unpack it beside it."""
        mkdir_if_missing(osp.dirname(dst))
        download_url(url, dst, from_gdrive=from_gdrive)
        print("Extracting file ...")
        extract_archive(dst, osp.dirname(dst))
        print(f"File extracted to {osp.dirname(dst)}")

    def generate_fewshot_dataset(
        self, *data_sources: list[Datum], num_shots: int = -1, repeat: bool = False
    ) -> list[Datum] | list[list[Datum]]:
        """Draw `num_shots` images a class from Python's global generator, classes in order of first appearance.

        A class with fewer images gives all of them; with `repeat` it is filled up by drawing again.
        """
        if num_shots < 1:
            return data_sources[0] if len(data_sources) == 1 else list(data_sources)
        print(f"Creating a {num_shots}-shot dataset")
        output = []
        for source in data_sources:
            dataset: list[Datum] = []
            for items in self.split_dataset_by_label(source).values():
                if len(items) >= num_shots:
                    dataset.extend(random.sample(items, num_shots))
                else:
                    dataset.extend(random.choices(items, k=num_shots) if repeat else items)
            output.append(dataset)
        return output[0] if len(output) == 1 else output

    def split_dataset_by_label(self, data_source: list[Datum]) -> dict[int, list[Datum]]:
        output = defaultdict(list)
        for item in data_source:
            output[item.label].append(item)
        return output

    def split_dataset_by_domain(self, data_source: list[Datum]) -> dict[int, list[Datum]]:
        output = defaultdict(list)
        for item in data_source:
            output[item.domain].append(item)
        return output


__all__ = ["DatasetBase", "Datum"]
