"""open_clip's models: towers, tokenizers. Offline; random weights."""

from .open_clip_models import *

# -- towers ------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_texts_and_images_are_encoded_as_by_open_clip(case: Case) -> None:
    text, image = KINDS[case.name]
    assert isinstance(case.backbone.text, text)
    assert image is None or isinstance(case.backbone.image, image)
    reference = case.model.encode_text(case.tokenize(TEXTS), normalize=True)
    assert close(case.backbone.encode_texts(TEXTS), reference)
    images = torch.randn(2, 3, case.backbone.resolution, case.backbone.resolution)
    assert close(case.backbone.encode_image(images), case.model.encode_image(images, normalize=True))


def test_learned_context_gives_open_clips_features_and_gradients(case: Case) -> None:
    backbone, n = case.backbone, 4
    learner = PromptLearner(backbone, n, rng=torch.Generator().manual_seed(0))
    tokens = backbone.class_tokens(CLASSES, n)
    weight = torch.randn(len(CLASSES), backbone.dim, generator=torch.Generator().manual_seed(1))
    ours = backbone.text(learner(tokens))[0]
    (ours * weight).sum().backward()
    gradient, learner.ctx.grad = learner.ctx.grad.clone(), None

    # The same ids with n placeholders in front; the model's own embedding layer then gives the vectors there.
    token = backbone.tokenizer
    rows = [[*token.start, *[4] * n, *token.encode(name.replace("_", " ") + "."), *token.end] for name in CLASSES]
    ids = torch.tensor([row + [token.pad] * (token.length - len(row)) for row in rows])
    at = len(token.start)

    def put(_: Any, __: Any, out: Tensor) -> Tensor:
        return torch.cat([out[:, :at], learner.ctx.expand(len(out), -1, -1), out[:, at + n :]], dim=1)

    handle = backbone.embedding.register_forward_hook(put)
    try:
        reference = case.model.encode_text(ids, **({"normalize": False} if "coca" in case.name else {}))
    finally:
        handle.remove()
    (reference * weight).sum().backward()
    assert close(ours, reference)
    assert close(gradient, learner.ctx.grad)
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("case", ["ViT-B-16-SigLIP"], indirect=True)
def test_every_place_of_the_class_name_is_padded_alike(case: Case) -> None:
    tokens, width = case.backbone.class_tokens(CLASSES, 2), case.backbone.width
    ctx, rng = torch.randn(2, width, generator=torch.Generator().manual_seed(0)), torch.Generator().manual_seed(1)
    whole = [case.backbone.text(class_prompts(ctx, tokens, position)) for position in POSITIONS]
    assert not torch.allclose(whole[0], whole[2], atol=1e-4)
    each = case.backbone.text(class_prompts(ctx.expand(len(CLASSES), -1, -1), tokens))  # a context a class
    assert close(each, whole[0])
    bias = torch.randn(2, width, generator=rng)  # as many groups
    grouped = case.backbone.text(class_prompts(ctx, tokens, "end", bias))
    assert close(grouped[1], case.backbone.text(class_prompts(ctx + bias[1], tokens))[0])


@pytest.mark.parametrize("case", ["ViT-B-16-SigLIP"], indirect=True)
def test_plain_towers_refuse_hooks(case: Case) -> None:
    prompts = case.backbone.text_prompts(["a cat"])
    hooks = Hooks(projection=lambda layer, x: x)
    with pytest.raises(UserError, match="text tower of ViT-B-16-SigLIP takes no deep prompts"):
        case.backbone.text(prompts, hooks)
    with pytest.raises(UserError, match="image tower of ViT-B-16-SigLIP takes no deep prompts"):
        case.backbone.image(torch.zeros(1, 3, 224, 224), hooks)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("vision_cfg", {"pool_type": "avg"}),
        ("vision_cfg", {"attentional_pool": True}),
        ("vision_cfg", {"no_ln_pre": True}),
        ("vision_cfg", {"patch_dropout": 0.5}),
        ("vision_cfg", {"output_tokens": True}),
        ("vision_cfg", {"ls_init_value": 0.1}),
        ("vision_cfg", {"qk_norm": True, "scale_attn": True}),
        ("text_cfg", {"ls_init_value": 0.1}),
        ("text_cfg", {"proj_bias": True}),
        ("text_cfg", {"no_causal_mask": True}),
        ("text_cfg", {"pool_type": "first"}),
        ("text_cfg", {"pool_type": "last"}),
        ("text_cfg", {"embed_cls": True}),
        ("text_cfg", {"block_type": "custom"}),
    ],
)
@torch.no_grad()
def test_a_tower_of_another_kind_is_open_clips_own(part: str, change: dict[str, Any]) -> None:
    custom = {"custom_text": True} if "embed_cls" in change else {}
    model = random_model({**TINY, **custom, part: {**TINY[part], **change}})
    backbone = wrap(model, 16, FP32, "a model", SCALING, tokenizer_of(TINY["text_cfg"], None))
    assert isinstance(backbone.text, TextTower) == (part == "vision_cfg")
    assert isinstance(backbone.image, ImageTower) == (part == "text_cfg")
    reference = model.encode_text(clip.SimpleTokenizer(context_length=20)(TEXTS), normalize=True)
    assert close(backbone.encode_texts(TEXTS), reference)
    images = torch.randn(2, 3, 32, 32)
    features = model.encode_image(images) if "output_tokens" not in change else model.visual(images)[0]
    assert close(backbone.encode_image(images), features / features.norm(dim=-1, keepdim=True))


def test_scale_bias_and_sizes_are_the_models(case: Case) -> None:
    backbone, model, text = case.backbone, case.model, case.config["text_cfg"]
    assert backbone.logit_scale == pytest.approx(float(model.logit_scale.detach().exp()))
    assert backbone.logit_bias == (0.0 if model.logit_bias is None else float(model.logit_bias.detach()))
    assert (model.logit_bias is not None) == (case.name in SIGLIP)
    assert backbone.dim == case.config["embed_dim"]
    assert backbone.width == text["width"]
    assert backbone.tokenizer.length == text["context_length"]
    assert backbone.resolution == case.config["vision_cfg"].get("image_size", 224)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_activations_are_the_architectures(case: Case) -> None:
    kinds = {type(module).__name__ for module in text_of(case.model).transformer.modules()}
    assert ("QuickGELU" in kinds) == case.name.endswith("quickgelu")
    approximate = {m.approximate for m in text_of(case.model).transformer.modules() if isinstance(m, torch.nn.GELU)}
    assert approximate == ({"tanh"} if case.name == "ViT-B-16-SigLIP2" else set() if "QuickGELU" in kinds else {"none"})


@pytest.mark.parametrize("kind", ["xlm", "bert"])
@torch.no_grad()
def test_text_towers_of_transformers_take_embeddings(kind: str, tmp_path: Path) -> None:
    sizes = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = XLMRobertaConfig(**sizes, pad_token_id=0) if kind == "xlm" else BertConfig(**sizes, pad_token_id=0)
    config.save_pretrained(tmp_path / "text")
    pooler = "mean_pooler" if kind == "xlm" else "cls_pooler"
    text = {"hf_model_name": str(tmp_path / "text"), "hf_tokenizer_name": "x", "hf_pooler_type": pooler}
    model = random_model({**TINY, "text_cfg": text})
    tokenizer = tokenizer_of(text, wordpieces(tmp_path / "tokens"))
    backbone = wrap(model, 16, FP32, "a model", SCALING, tokenizer)
    reference = model.encode_text(own_tokenizer(text, tmp_path / "tokens")(TEXTS), normalize=True)
    assert close(backbone.encode_texts(TEXTS), reference)


@torch.no_grad()
def test_half_precision_is_near_float32() -> None:
    tokenizer = tokenizer_of(TINY["text_cfg"], None)
    whole, half = random_model(tiny()), build(tiny(), "a model", torch.float16)
    fill(half, whole.state_dict(), "a model", "a file")
    to_half(half)
    assert half.visual.conv1.weight.dtype == half.text_projection.dtype == torch.float16
    assert half.ln_final.weight.dtype == half.token_embedding.weight.dtype == torch.float32
    small = wrap(half, 16, Precision("fp16", torch.float16), "a model", SCALING, tokenizer)
    reference = wrap(whole, 16, FP32, "a model", SCALING, tokenizer)
    images = torch.randn(2, 3, 32, 32)
    assert close(small.encode_texts(TEXTS), reference.encode_texts(TEXTS), 1e-2)
    assert close(small.encode_image(images), reference.encode_image(images), 1e-2)
    assert small.dtype == torch.float16


# -- tokenizers --------------------------------------------------------------------------------------------


def test_tokenizers_give_open_clips_ids(case: Case) -> None:
    token = case.backbone.tokenizer
    rows = [[*token.start, *token.encode(text), *token.end] for text in TEXTS]
    ours = torch.tensor([row + [token.pad] * (token.length - len(row)) for row in rows])
    assert torch.equal(ours, case.tokenize(TEXTS))


def test_siglips_have_no_start_and_pad_with_their_own_token(tmp_path: Path) -> None:
    text = clip.get_model_config("ViT-B-16-SigLIP")["text_cfg"]
    token = tokenizer_of(text, unigram(tmp_path, "</s>"))
    assert isinstance(token, TransformersTokens)
    assert (token.start, token.end, token.pad, token.length) == ((), (1,), 1, 64)
    assert token.encode("A  CAT.") == token.encode("a cat") != token.encode("a tree")  # canonical: lower, no marks
    assert token.words()["cat"] == token.encode("cat")[0]
    assert not {"pecker", "Cat", "x"} & token.words().keys()  # a piece, a name that is never so written, a letter


def test_half_a_tokenizer_beside_the_file_is_refused(tmp_path: Path) -> None:
    (unigram(tmp_path) / "tokenizer_config.json").unlink()
    with pytest.raises(UserError, match=r"has tokenizer.json without tokenizer_config.json"):
        tokenizer_of(clip.get_model_config("ViT-B-16-SigLIP")["text_cfg"], tmp_path)


def test_clipas_separator_becomes_padding(tmp_path: Path) -> None:
    token = tokenizer_of(clip.get_model_config("ViT-L-14-CLIPA")["text_cfg"], wordpieces(tmp_path))
    assert (token.start, token.end, token.pad) == ((2,), (0,), 0)


def test_openvisions_class_token_stands_behind_the_padding(tmp_path: Path) -> None:
    text = {"context_length": 12, "vocab_size": 60, "width": 32, "heads": 2, "layers": 2, "pool_type": "last"}
    text |= {"no_causal_mask": True, "hf_tokenizer_name": "x", "tokenizer_mode": "clips"}
    tokenizer = tokenizer_of(text, wordpieces(tmp_path))
    assert (tokenizer.tail, tokenizer.length) == ((2,), 11)
    model = random_model({**TINY, "text_cfg": text})
    backbone = wrap(model, 16, FP32, "a model", SCALING, tokenizer)
    own = clip.tokenizer.HFTokenizer(str(tmp_path), context_length=12, tokenizer_mode="clips")
    with torch.no_grad():
        reference = model.encode_text(own(["a cat.", "x"]), normalize=True)
    assert close(backbone.encode_texts(["a cat.", "x"]), reference)


def test_byte_pairs_have_whole_words() -> None:
    token = tokenizer_of({}, None)
    assert token.words()["cat"] == token.encode("cat")[0]
    assert (token.start, token.end, token.pad, token.length) == ((49406,), (49407,), 0, 77)


def test_a_tokenizer_that_ends_elsewhere_is_refused(tmp_path: Path) -> None:
    text = {**TINY["text_cfg"], "hf_tokenizer_name": "x", "vocab_size": 60}  # pooled at the largest id
    tokenizer = tokenizer_of(text, unigram(tmp_path))
    with pytest.raises(
        UserError, match=r"takes its feature at token \d+ \(argmax\), and its tokenizer ends texts with 1"
    ):
        wrap(random_model({**TINY, "text_cfg": text}), 16, FP32, "a model", SCALING, tokenizer)


def test_a_tokenizer_with_too_many_tokens_is_refused() -> None:
    model = random_model(tiny(vocab_size=100))
    with pytest.raises(UserError, match="tokenizer has 49408 tokens, and a model knows 100"):
        wrap(model, 16, FP32, "a model", SCALING, tokenizer_of({}, None))
