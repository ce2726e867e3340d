"""open_clip's models: names, activation, the hub. Offline; random weights."""

from .open_clip_models import *

# -- names -------------------------------------------------------------------------------------------------


def test_which_names_are_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_meant("open_clip:ViT-B-16/dfn2b", "")
    assert is_meant("hf-hub:owner/repository", "")
    assert is_meant("ViT-B-16-SigLIP", "a.safetensors")
    assert not is_meant("ViT-B-16", "")
    for name in ("ViT-B/16", "RN50", "MiniCLIP", "", "../model_configs/ViT-B-16", "mine"):
        assert not is_meant(name, "a.pt")
    monkeypatch.setitem(sys.modules, "open_clip", None)  # it is asked without being imported
    assert is_meant("hf-hub:owner/repository", "")


def test_openais_bare_names_stay_openais() -> None:
    assert {name for name in openai.names() if "/" not in name} & {*clip.list_models()} == {*BOTH}


def test_without_the_package_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(
        UserError,
        match=re.escape("needs open_clip, which is not here: pip install 'ship-clip[open_clip]'"),
    ):
        load_backbone("open_clip:ViT-B-16/dfn2b")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("open_clip:ViT-B16-SigLIP/webli", "no model 'ViT-B16-SigLIP': did you mean ViT-B-16-SigLIP"),
        ("open_clip:ViT-B-16/dfn2", "no weights 'dfn2' of ViT-B-16: did you mean dfn2b"),
        ("open_clip:ViT-S-16/mine", "no weights 'mine' of ViT-S-16 and publishes none: give a file"),
        ("open_clip:ViT-B-16", r"names no weights: write open_clip:ViT-B-16/WEIGHTS \(one of openai"),
        ("open_clip:ViT-B-16-quickgelu/laion2b_s34b_b88k", "no weights 'laion2b_s34b_b88k' of ViT-B-16-quickgelu"),
        ("hf-hub:repository", "write hf-hub:OWNER/REPOSITORY"),
    ],
)
def test_unknown_names_are_told_with_the_nearest(name: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        load(name)


def test_openais_spelling_is_understood() -> None:
    assert find("open_clip:ViT-B/16/dfn2b", "").architecture == "ViT-B-16"
    assert find("open_clip:ViT-B-16/DFN2B", "").tag["hf_hub"] == "apple/DFN2B-CLIP-ViT-B-16/"


# -- activation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "activation"),
    [
        ("ViT-B-16/metaclip_400m", "quickgelu"),
        ("ViT-B-16/dfn2b", "quickgelu"),
        ("ViT-B-16-quickgelu/dfn2b", "quickgelu"),
        ("ViT-B-16/laion2b_s34b_b88k", "gelu"),
        ("ViT-B-16/datacomp_xl_s13b_b90k", "gelu"),
        ("ViT-L-14/datacomp_xl_s13b_b90k", "gelu"),
        ("ViT-L-14/openai", "quickgelu"),
        ("RN50/openai", "quickgelu"),
        ("ViT-B-16-SigLIP/webli", "gelu"),
        ("ViT-B-16-SigLIP2/webli", "gelu"),
        ("roberta-ViT-B-32/laion2b_s12b_b32k", "quickgelu"),  # the architecture says it, the table is silent
    ],
)
def test_published_weights_bring_their_activation(name: str, activation: str) -> None:
    assert agreed(find("open_clip:" + name, ""), "") == activation


def test_no_published_weights_contradict_their_architecture() -> None:
    for name, tag in clip.list_pretrained():
        agreed(find(f"open_clip:{name}/{tag}", ""), "")


@pytest.mark.parametrize("quick", [True, False])
def test_a_tag_decides(quick: bool, table: dict[str, Any], weights: Path) -> None:
    table["Tiny"]["mine"] = settings(quick, weights)
    assert is_quick(load("open_clip:Tiny/mine")) == quick  # through the table
    assert is_quick(load("open_clip:Tiny/mine", str(weights))) == quick  # of a file of one's own


@pytest.mark.parametrize("quick", [True, False])
def test_a_configuration_beside_the_file_decides(quick: bool, table: dict[str, Any], weights: Path) -> None:
    put_config(weights, tiny(quick))
    backbone = load("open_clip:Tiny", str(weights))
    assert is_quick(backbone) == quick
    assert (backbone.preprocessing.mean, backbone.preprocessing.interpolation) == ((0.1, 0.2, 0.3), "bilinear")


def test_a_name_decides(table: dict[str, Any], weights: Path) -> None:
    assert is_quick(load("open_clip:Tiny-quickgelu", str(weights)))
    assert not is_quick(load("open_clip:Solo", str(weights)))  # there is no other kind


@pytest.mark.parametrize("activation", ["quickgelu", "gelu"])
def test_the_user_decides(activation: str, table: dict[str, Any], weights: Path) -> None:
    assert is_quick(load("open_clip:Tiny", str(weights), activation=activation)) == (activation == "quickgelu")


def test_the_wrong_activation_gives_other_features(table: dict[str, Any], weights: Path) -> None:
    first, second = (
        load("open_clip:Tiny", str(weights), activation=a).encode_texts(TEXTS) for a in ("gelu", "quickgelu")
    )
    assert not close(first, second, 1e-3)


def test_a_file_that_does_not_tell_is_refused_with_both_mends(table: dict[str, Any], weights: Path) -> None:
    with pytest.raises(UserError, match="tiny.safetensors does not tell which activation") as told:
        load("open_clip:Tiny", str(weights))
    assert "MODEL.BACKBONE.ACTIVATION" in str(told.value)
    assert "open_clip:Tiny-quickgelu" in str(told.value)


def test_a_real_name_that_has_both_kinds_is_refused(weights: Path) -> None:
    with pytest.raises(UserError, match="does not tell which activation"):
        load_backbone("ViT-B-16", str(weights))


def test_openais_own_file_tells(table: dict[str, Any], tmp_path: Path) -> None:
    facts = dict.fromkeys(("input_resolution", "context_length", "vocab_size"), torch.tensor(1))
    torch.save({**random_model(tiny()).state_dict(), **facts}, tmp_path / "a.pt")
    assert is_quick(load("open_clip:Tiny", str(tmp_path / "a.pt")))


@pytest.mark.parametrize("activation", ["quickgelu", "gelu"])
def test_contradictions_are_refused(activation: str, table: dict[str, Any], weights: Path) -> None:
    quick = activation == "quickgelu"
    other = "gelu" if quick else "quickgelu"
    table["Tiny"]["mine"] = settings(not quick, weights)
    sentence = f"MODEL.BACKBONE.ACTIVATION says {activation}; the wrong one"
    with pytest.raises(UserError, match=f"table of Tiny/mine says that the activation is {other}, and {sentence}"):
        load("open_clip:Tiny/mine", activation=activation)
    put_config(weights, tiny(quick))
    with pytest.raises(UserError, match=f"{CONFIG} says {activation}"):
        load("open_clip:Tiny/mine", str(weights))
    put_config(weights, tiny(not quick))
    with pytest.raises(UserError, match=sentence):
        load("open_clip:Tiny", str(weights), activation=activation)


def test_a_name_that_contradicts_the_configuration_is_refused(table: dict[str, Any], weights: Path) -> None:
    put_config(weights, tiny(False))
    with pytest.raises(UserError, match="the name Tiny-quickgelu says that the activation is quickgelu"):
        load("open_clip:Tiny-quickgelu", str(weights))
    put_config(weights, tiny(width=64))
    with pytest.raises(UserError, match=r"says text_cfg.width 64, and Tiny has 32: name the model"):
        load("open_clip:Tiny", str(weights))


def test_a_bad_activation_is_refused(weights: Path) -> None:
    with pytest.raises(UserError, match="MODEL.BACKBONE.ACTIVATION is 'relu': choose quickgelu or gelu"):
        load("hf-hub:owner/tiny", str(weights), activation="relu")


# -- the hub -----------------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, weights: Path) -> Path:
    """A repository hf-hub:owner/tiny: the folder of the weights."""
    weights.rename(weights.with_name("open_clip_model.safetensors"))

    def download(repo_id: str, filename: str, **_: Any) -> str:
        file = weights.parent / filename
        if repo_id != "owner/tiny" or not file.is_file():
            raise FileNotFoundError(f"404: {repo_id} has no {filename}")
        return str(file)

    monkeypatch.setattr(clip.pretrained, "hf_hub_download", download)
    monkeypatch.setattr(open_clip_origin, "_reachable", lambda endpoint: True)
    return weights.parent / "open_clip_model.safetensors"


@pytest.mark.parametrize("quick", [True, False])
def test_a_repository_brings_weights_and_configuration(quick: bool, hub: Path) -> None:
    put_config(hub, tiny(quick))
    for name in ("hf-hub:owner/tiny", "open_clip:hf-hub:owner/tiny"):
        backbone = load_backbone(name)
        assert is_quick(backbone) == quick
        assert backbone.name == name
        assert backbone.preprocessing.resize == "squash"


def test_a_repository_that_contradicts_the_table_is_refused(hub: Path, table: dict[str, Any]) -> None:
    put_config(hub, tiny(False))
    table["Tiny"]["mine"] = settings(True)
    with pytest.raises(UserError, match="table of open_clip:Tiny/mine says quickgelu"):
        load("hf-hub:owner/tiny")


def test_a_repository_that_is_not_there_is_told(hub: Path) -> None:
    with pytest.raises(MissingFile, match=f"{CONFIG} of hf-hub:owner/other could not be fetched"):
        load("hf-hub:owner/other")


def test_without_a_network_it_is_told_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(open_clip_origin, "_reachable", lambda endpoint: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    start = time.perf_counter()
    for name in ("open_clip:ViT-B-16/dfn2b", "hf-hub:owner/tiny"):
        with pytest.raises(MissingFile, match="could not be fetched") as told:
            load(name)
        assert name.removeprefix("open_clip:") in str(told.value)
        assert "cannot be reached" in str(told.value)
        assert "MODEL.BACKBONE.PATH" in str(told.value)
    text = clip.get_model_config("ViT-B-16-SigLIP")["text_cfg"]
    with pytest.raises(MissingFile, match="the tokenizer timm/ViT-B-16-SigLIP could not be fetched") as told:
        tokenizer_of({**text, "tokenizer_kwargs": {**text["tokenizer_kwargs"], "cache_dir": str(tmp_path)}}, tmp_path)
    assert "tokenizer.json" in str(told.value)
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("error", [OSError("no route"), RuntimeError("damaged on the way"), ValueError("odd")])
def test_any_error_of_a_download_is_one_sentence(error: Exception, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(clip.pretrained, "hf_hub_download", fail)
    with pytest.raises(MissingFile, match=f"could not be fetched .*{error}") as told:
        load("open_clip:ViT-B-16/dfn2b")
    assert "\n" not in str(told.value)
