"""A workdir goes on with the config that made it, and with no other."""

import json

import pytest

from configs import vp_cifar, vp_digits
from runtime_lib import workdir
from runtime_lib.workdir import WorkdirError


@pytest.fixture
def claimed(tmp_path):
    workdir.claim(tmp_path, vp_digits.get_config())
    return tmp_path


def changed(**settings):
    config = vp_digits.get_config()
    for name, value in settings.items():
        section, key = name.split("__")
        config[section][key] = value
    return config


def test_the_config_is_kept_in_full_and_read_back(claimed):
    stored = json.loads((claimed / "config.json").read_text())
    assert stored == workdir.read_config(claimed)
    assert stored["data.dataset"] == "digits"
    assert stored["model.ch_mult"] == list(vp_digits.get_config().model.ch_mult)


def test_the_same_config_may_go_on(claimed):
    workdir.claim(claimed, vp_digits.get_config())
    workdir.check_model(claimed, vp_digits.get_config())


@pytest.mark.parametrize(
    "settings",
    [
        {"training__n_iters": 9},
        {"training__n_jitted_steps": 3},
        {"training__keep": 9, "training__log_freq": 9},
        {"sampling__snr": 0.5, "sampling__predictor": "euler_maruyama"},
        {"eval__batch_size": 3},
        {"data__data_dir": "elsewhere"},
        {"model__remat": "blocks", "model__attention": "plain"},
    ],
)
def test_what_does_not_change_the_updates_may_differ_and_is_kept_anew(claimed, settings):
    workdir.claim(claimed, changed(**settings))
    stored = workdir.read_config(claimed)
    for name, value in settings.items():
        assert stored[name.replace("__", ".")] == value


@pytest.mark.parametrize(
    "settings",
    [
        {"optim__lr": 0.5},
        {"model__nf": 8},
        {"training__batch_size": 2},
        {"sde__beta_max": 9.0},
        {"model__dtype": "bfloat16"},
    ],
)
def test_what_changes_the_updates_is_refused_with_the_difference(claimed, settings):
    before = (claimed / "config.json").read_bytes()
    for act in (workdir.check_same, workdir.claim):
        with pytest.raises(WorkdirError) as error:
            act(claimed, changed(**settings))
        for name, value in settings.items():
            assert f"{name.replace('__', '.')}: " in str(error.value)
            assert f"{value!r} here" in str(error.value)
    assert (claimed / "config.json").read_bytes() == before


def test_a_trained_model_may_be_used_whatever_trained_it(claimed):
    workdir.check_model(claimed, changed(optim__lr=0.5, training__batch_size=2))
    with pytest.raises(WorkdirError, match=r"model\.nf: .* there, 8 here"):
        workdir.check_model(claimed, changed(model__nf=8))


def test_a_model_that_never_missed_its_class_may_be_used_but_not_trained_on(claimed):
    config = changed(model__label_dropout=0.0)
    workdir.check_model(claimed, config)
    with pytest.raises(WorkdirError, match="label_dropout"):
        workdir.claim(claimed, config)


def test_another_dataset_is_refused(claimed):
    with pytest.raises(WorkdirError, match=r"data\.dataset: 'digits' there, 'CIFAR10' here"):
        workdir.check_model(claimed, vp_cifar.get_config())


def test_a_directory_without_a_config_is_free_to_train_in_and_has_no_model(tmp_path):
    workdir.check_same(tmp_path, vp_digits.get_config())
    with pytest.raises(WorkdirError, match="no trained model"):
        workdir.check_model(tmp_path, vp_digits.get_config())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00"])
def test_a_damaged_config_is_named_and_left_alone(tmp_path, text):
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(WorkdirError, match=r"config\.json cannot be read"):
        workdir.claim(tmp_path, vp_digits.get_config())
    assert file.read_text() == text


def test_a_setting_newer_than_the_workdir_has_its_default_there(claimed):
    path = claimed / "config.json"
    stored = json.loads(path.read_text())
    del stored["model.condition_dropout"]
    path.write_text(json.dumps(stored))
    workdir.check_same(claimed, vp_digits.get_config())
    with pytest.raises(WorkdirError, match=r"model\.condition_dropout: 0\.0 there, 0\.5 here"):
        workdir.check_same(claimed, changed(model__condition_dropout=0.5))


def test_a_setting_that_is_no_more_is_left_out_of_an_older_workdir(claimed):
    path = claimed / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"cpu_devices": 2}))
    workdir.check_same(claimed, vp_digits.get_config())
    assert "cpu_devices" not in workdir.read_config(claimed)
