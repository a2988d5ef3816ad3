"""Settings on the command line, by the types of their defaults."""

from pathlib import Path

import pytest

from configs import command_line, defaults, schema

VP_DIGITS = str(Path(schema.__file__).with_name("vp_digits.py"))


@pytest.mark.parametrize(
    "name, text, value",
    [
        ("training.batch_size", "64", 64),
        ("optim.lr", "1e-3", 1e-3),
        ("optim.grad_clip", "-1", -1.0),
        ("optim.lr", "1", 1.0),
        ("model.fir", "True", True),
        ("model.fir", "false", False),
        ("model.fir", "1", True),
        ("sampling.predictor", "ancestral", "ancestral"),
        ("data.data_dir", "", ""),
        ("model.ch_mult", "(1, 2, 2)", (1, 2, 2)),
        ("model.ch_mult", "1,2", (1, 2)),
        ("model.ch_mult", "[1, 2]", (1, 2)),
        ("model.attn_resolutions", "16", (16,)),
        ("model.attn_resolutions", "()", ()),
        ("model.extra_ema_rates", "(.9, .99)", (0.9, 0.99)),
        ("seed", "7", 7),
    ],
)
def test_a_text_is_read_as_the_type_of_its_setting(name, text, value):
    read = command_line.parse(name, text)
    assert read == value
    assert type(read) is type(defaults.SETTINGS[name].default)
    config = command_line.load(VP_DIGITS, {name: text})
    assert schema.flatten(config)[name] == value


@pytest.mark.parametrize(
    "name, text",
    [
        ("training.batch_size", "1.5"),
        ("training.batch_size", ""),
        ("optim.lr", "fast"),
        ("model.fir", "maybe"),
        ("model.ch_mult", "(1, 'a')"),
        ("model.ch_mult", "(1, True)"),
        ("model.ch_mult", "(1,"),
        ("model.ch_mult", "__import__('os')"),
    ],
)
def test_a_text_of_another_type_is_refused_with_the_key_and_the_text(name, text):
    with pytest.raises(ValueError, match=f"^{name} must be ") as error:
        command_line.parse(name, text)
    assert repr(text) in str(error.value)


def test_settings_are_told_from_other_arguments():
    arguments = ["--mode", "train", "--config.optim.lr=1", "--config", "x", "--config.seed", "3"]
    others, settings = command_line.split(arguments)
    assert others == ["--mode", "train", "--config", "x"]
    assert settings == {"optim.lr": "1", "seed": "3"}


def test_the_last_of_several_values_counts():
    assert command_line.split(["--config.seed=1", "--config.seed=2"])[1] == {"seed": "2"}


def test_a_value_may_contain_an_equals_sign():
    assert command_line.split(["--config.data.data_dir=/a=b"])[1] == {"data.data_dir": "/a=b"}


def test_a_setting_without_a_value_is_refused():
    with pytest.raises(ValueError, match=r"--config\.seed must be followed by a value"):
        command_line.split(["--config.seed"])


@pytest.mark.parametrize(("name", "value"), defaults.FROM_DATA.items())
def test_auto_stands_for_what_is_taken_from_the_data(name: str, value: object) -> None:
    assert command_line.parse(name, "auto") == value
    config = schema.get_default()
    command_line.override(config, {name: "auto"})
    assert schema.flatten(config)[name] == value


def test_auto_is_no_value_of_other_settings() -> None:
    with pytest.raises(ValueError, match=r"optim.lr must be a number, got 'auto'"):
        command_line.parse("optim.lr", "auto")
