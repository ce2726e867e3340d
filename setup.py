from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
CONFIGS = sorted({file.parent.relative_to("configs").parts for file in Path("configs").rglob("*.yaml")})
CONFIG_PACKAGES = {".".join(("shipclip", "configs", *parts)): "/".join(("configs", *parts)) for parts in CONFIGS}
ONNX = ["onnx>=1.16", "onnxscript>=0.1", "onnxruntime>=1.18"]  # torch's exporter, and what checks what it writes
DEMO = ["starlette>=0.37", "uvicorn>=0.29"]  # the page of shipclip demo
DOCS = ["mkdocs>=1.6", "mkdocstrings[python]>=1.0"]
DOCS += ["pymdown-extensions>=10.16,<12.2; python_version < '3.11'"]  # mkdocstrings for later ones wants a later Python
RAY = ["ray>=2.30"]  # shipclip run on a Ray cluster
SLURM = ["submitit>=1.5"]  # and on Slurm
OPEN_CLIP = ["open_clip_torch>=3.1", "transformers>=4.40", "sentencepiece>=0.2"]  # its models and their tokenizers

setup(
    name="ship-clip",
    version="0.2.0",
    description="Adapt CLIP to your own classes: SHIP (synthesized prompts), CoOp and other learners, as a library",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    # The plug-in for Dassl (trainers, datasets, train.py) is run from the checkout: names like `datasets` would
    # shadow other packages in everybody's environment.
    packages=[*find_packages(include=["shipclip*"]), *CONFIG_PACKAGES],
    package_dir=CONFIG_PACKAGES,
    package_data={
        "shipclip.miniclip": ["miniclip.pt", "train_log.csv", "README.md"],
        "shipclip.demo": ["page.html", "page.css", "page.js"],
        **{package: ["*.yaml"] for package in CONFIG_PACKAGES},
    },
    entry_points={"console_scripts": ["shipclip = shipclip.cli:main"]},
    install_requires=[
        "torch>=2.4",
        "torchvision>=0.19",
        "clip-anytorch>=2.5",  # OpenAI's clip; the package that is called clip is something else
        "packaging>=22",  # what clip-anytorch wants of pkg_resources, which today's setuptools no longer has
        "ftfy>=6.1",
        "regex>=2022.10.31",
        "numpy>=1.23.5",
        "pillow>=9.1",
        "pyyaml>=6.0",
        "safetensors>=0.4",  # saved models hold no pickle
        "yacs>=0.1.8",
        "tabulate>=0.9",
        "rich>=12",  # the live table of many runs
        "tqdm>=4.64",
        "tensorboard>=2.12",
        "scikit-learn>=1.2",  # measures of synthetic features; macro F1 of Dassl's evaluator
        "matplotlib>=3.7",  # the pictures
        "scipy>=1.9",  # the .mat files that data sets come with (scikit-learn needs it anyhow)
    ],
    extras_require={
        "ray": RAY,
        "slurm": SLURM,
        "download": ["gdown>=5"],  # CoOp's split files lie in Google Drive
        "open_clip": OPEN_CLIP,
        "onnx": ONNX,
        "demo": DEMO,
        "docs": DOCS,
        "test": [
            *("pytest>=7.4", "pytest-xdist>=3.6.1", "hypothesis>=6.100", "ruff>=0.6"),
            "setuptools>=70.1",  # the tests build the wheel,
            *("httpx>=0.27", "selenium>=4.11"),  # ask the page's server, and look at the page in a browser,
            *("nbclient>=0.10", "ipykernel>=6.29"),  # and run the notebook
            *RAY,
            *SLURM,
            *OPEN_CLIP,
            *ONNX,
            *DEMO,
            *DOCS,
        ],
    },
)
