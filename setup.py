from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="ship-clip",
    version="0.1.0",
    description="SHIP (synthesized prompts for CLIP), next to CoOp and CoCoOp, as trainers for Dassl",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages(include=["datasets*", "embedded*", "trainers*"]),
    py_modules=["train"],
    package_data={"embedded.miniclip": ["miniclip.pt", "train_log.csv", "README.md"]},
    install_requires=[
        "torch>=2.4",
        "torchvision>=0.19",
        "clip-anytorch>=2.5",  # OpenAI's clip; the package that is called clip is something else
        "setuptools<81",  # clip-anytorch imports pkg_resources at run time
        "ftfy",
        "regex",
        "numpy",
        "pillow>=9.1",
        "yacs>=0.1.8",
        "tabulate>=0.9",
        "tqdm>=4.64",
        "tensorboard>=2.10",
        "scikit-learn>=1.2",  # macro F1 and confusion matrix of Dassl's evaluator
        "matplotlib>=3.7",  # the pictures of trainers.figures and trainers.ship.interpret
        "scipy>=1.9",  # the .mat files that data sets come with (scikit-learn needs it anyhow)
    ],
    extras_require={
        "download": ["gdown"],  # CoOp's split files lie in Google Drive
        "test": ["pytest>=7", "pytest-xdist", "hypothesis", "ruff"],
    },
)
