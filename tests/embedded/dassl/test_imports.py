import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import embedded

NAMES = {
    "dassl.engine": "TRAINER_REGISTRY TrainerX TrainerXU TrainerBase SimpleTrainer SimpleNet build_trainer",
    "dassl.engine.trainer": "TrainerX TrainerBase SimpleTrainer SimpleNet MetricMeter AverageMeter SummaryWriter",
    "dassl.engine.build": "TRAINER_REGISTRY build_trainer",
    "dassl.data": "DataManager DatasetWrapper",
    "dassl.data.data_manager": "DataManager DatasetWrapper build_data_loader",
    "dassl.data.datasets": "DATASET_REGISTRY Datum DatasetBase build_dataset",
    "dassl.data.datasets.base_dataset": "Datum DatasetBase",
    "dassl.data.datasets.build": "DATASET_REGISTRY build_dataset",
    "dassl.data.samplers": "build_sampler RandomSampler SequentialSampler RandomDomainSampler SeqDomainSampler "
    "RandomClassSampler",
    "dassl.data.transforms": "build_transform INTERPOLATION_MODES",
    "dassl.data.transforms.transforms": "build_transform INTERPOLATION_MODES",
    "dassl.evaluation": "build_evaluator EVALUATOR_REGISTRY EvaluatorBase Classification",
    "dassl.evaluation.build": "build_evaluator EVALUATOR_REGISTRY",
    "dassl.evaluation.evaluator": "EvaluatorBase Classification",
    "dassl.metrics": "compute_accuracy",
    "dassl.optim": "build_optimizer build_lr_scheduler",
    "dassl.optim.optimizer": "build_optimizer",
    "dassl.optim.lr_scheduler": "build_lr_scheduler ConstantWarmupScheduler LinearWarmupScheduler",
    "dassl.optim.radam": "RAdam",
    "dassl.config": "get_cfg_default clean_cfg cfg_default",
    "dassl.config.defaults": "_C",
    "dassl.utils": "mkdir_if_missing check_isfile read_json write_json set_random_seed download_url read_image "
    "collect_env_info listdir_nohidden get_most_similar_str_to_a_from_b check_availability tolist_if_not Logger "
    "setup_logger AverageMeter MetricMeter Registry save_checkpoint load_checkpoint resume_from_checkpoint "
    "open_all_layers open_specified_layers count_num_param load_pretrained_weights init_network_weights",
    "dassl.utils.tools": "mkdir_if_missing",
    "dassl.utils.logger": "setup_logger Logger",
    "dassl.utils.meters": "AverageMeter MetricMeter",
    "dassl.utils.registry": "Registry",
    "dassl.utils.torchtools": "save_checkpoint load_checkpoint",
}


@pytest.mark.parametrize("module", NAMES)
def test_public_names_are_where_upstream_has_them(module):
    found = importlib.import_module(module)
    assert [name for name in NAMES[module].split() if not hasattr(found, name)] == []


def test_star_import_of_utils_gives_the_helpers():
    names: dict = {}
    exec("from dassl.utils import *", names)
    assert set(NAMES["dassl.utils"].split()) <= set(names)


def test_importing_the_engine_loads_nothing_that_is_slow_and_may_not_be_needed():
    slow = {"sklearn", "tensorboard", "gdown", "torchvision"}
    code = f"import embedded, dassl.engine, sys; print(*{slow} & set(sys.modules))"
    root = Path(embedded.__file__).parent.parent
    out = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    assert out.strip() == ""
