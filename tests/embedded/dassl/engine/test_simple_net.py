import pytest
import torch
from dassl.engine import SimpleNet


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_a_torchvision_backbone_gives_logits_and_features(cfg, name):
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.PRETRAINED = name, False
    net = SimpleNet(cfg, cfg.MODEL, 5).eval()
    logits, features = net(torch.rand(2, 3, 64, 64), return_feature=True)
    assert logits.shape == (2, 5) and features.shape == (2, net.fdim)


def test_hidden_layers_may_follow(cfg):
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.PRETRAINED = "resnet18", False
    cfg.MODEL.HEAD.NAME, cfg.MODEL.HEAD.HIDDEN_LAYERS, cfg.MODEL.HEAD.DROPOUT = "mlp", (7, 6), 0.5
    net = SimpleNet(cfg, cfg.MODEL, 0)
    assert net.fdim == 6
    assert net(torch.rand(2, 3, 64, 64)).shape == (2, 6)


def test_an_unknown_backbone_is_answered_with_the_nearest_name(cfg):
    cfg.MODEL.BACKBONE.NAME = "resnet_18"
    with pytest.raises(ValueError, match="did you mean resnet18"):
        SimpleNet(cfg, cfg.MODEL, 5)


def test_a_backbone_without_a_linear_layer_is_refused(cfg):
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.PRETRAINED = "squeezenet1_0", False
    with pytest.raises(ValueError, match="SqueezeNet, which ends in no linear layer"):
        SimpleNet(cfg, cfg.MODEL, 5)
