"""open_clip's models: files, images. Offline; random weights."""

from .open_clip_models import *

# -- files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".safetensors", ".bin", ".pt"])
def test_files_of_all_kinds_give_the_same_features(suffix: str, table: dict[str, Any], tmp_path: Path) -> None:
    model, file = random_model(tiny()), tmp_path / f"a{suffix}"
    if suffix == ".safetensors":
        save_file(model.state_dict(), file)
    elif suffix == ".bin":
        torch.save(model.state_dict(), file)
    else:  # as open_clip's training writes it
        state = {"module." + key: value for key, value in model.state_dict().items()}
        torch.save({"epoch": 3, "name": "run", "state_dict": state}, file)
    backbone = load("open_clip:Tiny", str(file), activation="gelu")
    with torch.no_grad():
        reference = model.encode_text(clip.SimpleTokenizer(context_length=20)(TEXTS), normalize=True)
    assert close(backbone.encode_texts(TEXTS), reference)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.pop("visual.proj"), "is not a Solo: it lacks visual.proj; check that MODEL.BACKBONE.NAME"),
        (lambda t: t.update(other=torch.zeros(1)), "it has other, which does not belong there"),
        (lambda t: t.update({"visual.proj": torch.zeros(64, 8)}), r"its visual.proj is \[64, 8\], not \[64, 16\]"),
        (
            lambda t: t.update(positional_embedding=torch.zeros(20, 8)),
            r"positional_embedding is \[20, 8\], not \[20, 32\]",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_told_by_its_first_tensor(
    change: Callable[[dict], Any], sentence: str, table: dict[str, Any], tmp_path: Path
) -> None:
    tensors = random_model(tiny()).state_dict()
    change(tensors)
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=sentence):
        load("open_clip:Solo", str(tmp_path / "a.safetensors"))


def test_position_embeddings_are_resized_as_by_open_clip(
    table: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {**tiny(context_length=10), "vision_cfg": {**TINY["vision_cfg"], "image_size": 48}}
    file = tmp_path / "a.safetensors"
    save_file(random_model(small).state_dict(), file)
    ours = load("open_clip:Solo", str(file))
    assert capsys.readouterr().out.count("is interpolated from 10 to") == 2
    reference = build(tiny(), "a model")
    clip.factory.load_checkpoint(reference, str(file))
    for key, value in reference.state_dict().items():
        assert torch.equal(ours.model.state_dict()[key], value)


def test_old_files_fill_towers_of_their_own(tmp_path: Path) -> None:
    tensors = random_model(tiny()).state_dict()  # the text tower on the model itself
    tensors["logit_scale"] = tensors["logit_scale"].reshape(1)
    model = build({**tiny(), "custom_text": True}, "a model")
    fill(model, tensors, "a model", "a file")
    assert torch.equal(model.text.text_projection, tensors["text_projection"])


def test_a_siglip_of_ones_own_takes_tokenizer_and_scaling_with_it(table: dict[str, Any], tmp_path: Path) -> None:
    text = {**clip.get_model_config("ViT-B-16-SigLIP")["text_cfg"], "width": 32, "heads": 2, "layers": 2}
    config = {**TINY, "text_cfg": {**text, "vocab_size": 60}, "custom_text": True, "init_logit_bias": -10}
    model, file = random_model(config), tmp_path / "open_clip_model.safetensors"
    save_file(model.state_dict(), file)
    put_config(file, config)
    unigram(tmp_path)
    backbone = load("hf-hub:owner/mine", str(file))  # offline: all that it needs lies beside it
    assert backbone.logit_bias == float(model.logit_bias.detach())
    with torch.no_grad():
        reference = model.encode_text(own_tokenizer(config["text_cfg"], tmp_path)(TEXTS), normalize=True)
    assert close(backbone.encode_texts(TEXTS), reference)


def test_other_files_are_refused(tmp_path: Path, table: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="webli.npz is in big_vision's format"):
        load("ViT-B-16-SigLIP", "webli.npz")
    with pytest.raises(MissingFile, match="no CLIP weight file at"):
        load("ViT-B-16-SigLIP", str(tmp_path / "none.pt"))
    file = tmp_path / "a.safetensors"
    save_file(random_model(tiny()).state_dict(), file)
    (tmp_path / CONFIG).write_text('{"vision_cfg": {}}')
    with pytest.raises(UserError, match=f"{CONFIG} is no configuration of open_clip's"):
        load("open_clip:Solo", str(file))
    put_config(file, {**tiny(), "novelty": 1})
    with pytest.raises(UserError, match=r"open_clip 3\S* cannot build .*novelty"):
        load("open_clip:Solo", str(file))


# -- images ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "mean", "interpolation", "resize"),
    [
        ("ViT-B-16/dfn2b", 0.48145466, "bicubic", "shortest"),
        ("ViT-L-14/laion2b_s32b_b82k", 0.5, "bicubic", "shortest"),
        ("ViT-B-16-SigLIP/webli", 0.5, "bicubic", "squash"),
        ("MobileCLIP-S1/datacompdr", 0.0, "bilinear", "shortest"),
    ],
)
def test_images_are_made_as_the_weights_configuration_says(
    name: str, mean: float, interpolation: str, resize: str
) -> None:
    origin = find("open_clip:" + name, "")
    origin.config["quick_gelu"] = agreed(origin, "") == "quickgelu"
    made = preprocess_of(origin, "")
    assert (made["mean"][0], made["interpolation"], made["resize_mode"]) == (mean, interpolation, resize)


def test_size_mean_and_interpolation_reach_the_backbone(case: Case) -> None:
    made = case.backbone.preprocessing
    assert (made.mean, made.std, made.interpolation, made.resize) == tuple(SCALING.values())
    assert made.size == case.backbone.resolution


def test_a_bare_siglip_file_is_scaled_as_all_siglips(tmp_path: Path) -> None:
    origin = find("ViT-B-16-SigLIP", "a.safetensors")
    origin.config["quick_gelu"] = False
    assert preprocess_of(origin, "a.safetensors")["mean"] == (0.5, 0.5, 0.5)  # open_clip itself would take CLIP's


def test_a_bare_file_whose_kind_is_scaled_in_two_ways_is_refused() -> None:
    origin = find("ViT-L-14", "a.safetensors")
    origin.config["quick_gelu"] = False  # LAION-2B's have another mean than DataComp's
    with pytest.raises(UserError, match="a.safetensors does not tell how its images are scaled"):
        preprocess_of(origin, "a.safetensors")
    origin.config["quick_gelu"] = True
    assert preprocess_of(origin, "a.safetensors")["mean"][0] == 0.48145466


def test_images_that_are_not_square_are_refused() -> None:
    config = {**TINY, "vision_cfg": {**TINY["vision_cfg"], "image_size": [32, 48]}}
    with pytest.raises(UserError, match="reads images of 32 x 48, squash: only squares"):
        wrap(random_model(config), 16, FP32, "a model", SCALING, tokenizer_of(TINY["text_cfg"], None))
