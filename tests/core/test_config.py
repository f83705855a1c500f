"""Settings: strict on the way in, the same on the way out."""

from __future__ import annotations

import dataclasses
import os

import pytest
import yaml

from ddiffpg_core.config import Config, ConfigError, dump, from_dict, load_file, override
from ddiffpg_core.defaults import load_preset


def write(tmp_path, text: str):
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    return path


# ---- what is read ---------------------------------------------------------------------------------


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path):
    config = load_file(write(tmp_path, "train: {iterations: 7}\nactor: {hidden: [8, 9], learning_rate: 1}\n"), Config())
    assert config.train == dataclasses.replace(Config().train, iterations=7)
    assert config.actor == dataclasses.replace(Config().actor, hidden=(8, 9), learning_rate=1.0)
    assert config.critic == Config().critic


def test_a_file_builds_on_its_base(tmp_path):
    base = override(Config(), ["critic.atoms=21"])
    assert load_file(write(tmp_path, "critic: {gamma: 0.5}\n"), base).critic.atoms == 21


def test_an_empty_file_changes_nothing(tmp_path):
    assert load_file(write(tmp_path, ""), Config()) == Config()


@pytest.mark.parametrize("config", [Config(), override(Config(), ["actor.hidden=[3]", "train.device=cuda"])])
def test_yaml_round_trip(config, tmp_path):
    path = write(tmp_path, dump(config))
    assert load_file(path, override(Config(), ["train.iterations=1"])) == config
    assert from_dict(yaml.safe_load(dump(config)), "here") == config


def test_what_is_set_is_what_is_used(tmp_path):
    # in the authors' release options are overwritten by task name after the user has set them
    path = write(tmp_path, "modes: {max_modes: 3}\n")
    config = override(load_file(path, load_preset("cpu", "pointmaze-v3")), ["critic.gamma=0.9"])
    assert (config.modes.max_modes, config.critic.gamma) == (3, 0.9)


# ---- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("trian: {iterations: 7}", ["unknown key 'trian'", "known: train, actor"]),
        ("train: {iteration: 7}", ["train", "unknown key 'iteration'", "iterations"]),
        ("train: 7", ["train", "expected keys and values", "7"]),
        ("train: {iterations: seven}", ["train: iterations is 'seven'", "int"]),
        ("train: {iterations: 7.0}", ["train: iterations is 7.0", "int"]),
        ("train: {iterations: true}", ["train: iterations is True", "int"]),
        ("train: {iterations: null}", ["train: iterations is None", "int"]),
        ("train: {device: 3}", ["train: device is 3", "str"]),
        ("critic: {per_mode: 1}", ["critic: per_mode is 1", "true or false"]),
        ("critic: {per_mode: null}", ["critic: per_mode is None", "true or false"]),
        ("critic: {gamma: high}", ["critic: gamma is 'high'", "float"]),
        ("critic: {gamma: true}", ["critic: gamma is True", "float"]),
        ("critic: {gamma: .nan}", ["critic: gamma is nan"]),
        ("critic: {gamma: .inf}", ["critic: gamma is inf"]),
        ("critic: {gamma: -0.5}", ["critic: gamma is -0.5", "0 or more"]),
        ("train: {num_envs: -1}", ["train: num_envs is -1", "0 or more"]),
        ("actor: {hidden: [64, 0]}", ["actor: hidden is [64, 0]", "above 0"]),
        ("actor: {hidden: 128}", ["actor: hidden is 128", "list of whole numbers"]),
        ("actor: {hidden: [128, 1.5]}", ["actor: hidden is [128, 1.5]", "list of whole numbers"]),
        ("actor: {hidden: [true]}", ["actor: hidden is [True]", "list of whole numbers"]),
        ("- a\n- b", ["expected keys and values"]),
        ("train: {iterations: 7", ["not YAML"]),
        ("5", ["expected keys and values", "5"]),
    ],
)
def test_wrong_settings_are_named(text, names, tmp_path):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load_file(path, Config())
    for name in [str(path), *names]:
        assert name in str(error.value)


@pytest.mark.parametrize("key", ["iterations", "num_envs", "log_every", "eval_every", "checkpoint_every"])
def test_nothing_can_be_done_every_zero_iterations(key):
    with pytest.raises(ConfigError, match=rf"train\.{key} is 0: expected 1 or more"):
        override(Config(), [f"train.{key}=0"])


def test_products_are_worked_out_in_a_way_that_is_known():
    with pytest.raises(ConfigError, match=r"train\.matmul is 'half': expected float32 or reduced"):
        override(Config(), ["train.matmul=half"])


def test_one_path_is_no_cluster():
    with pytest.raises(ConfigError, match=r"modes\.min_cluster is 1: expected 2 or more"):
        override(Config(), ["modes.min_cluster=1"])


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("train.iterations", ["'train.iterations'", "section.key=value"]),
        ("iterations=7", ["'iterations=7'", "section.key=value"]),
        ("train.iterations=", ["iterations is None", "int"]),
        ("train.iterations=x", ["iterations is 'x'", "int"]),
        ("train.iteration=7", ["unknown key 'iteration'"]),
        ("nothing.iterations=7", ["unknown key 'nothing'"]),
        ("train.iterations=[1", ["not YAML"]),
    ],
)
def test_wrong_overrides_are_named(text, names):
    with pytest.raises(ConfigError) as error:
        override(Config(), [text])
    for name in names:
        assert name in str(error.value)


def test_overrides_are_yaml_and_the_last_one_counts():
    config = override(Config(), ["actor.hidden=[4, 5]", "critic.gamma=1e-1", "train.device=cuda", "critic.gamma=0.5"])
    assert config.actor.hidden == (4, 5)
    assert config.critic.gamma == 0.5
    assert config.train.device == "cuda"


def test_a_file_that_is_not_there_or_no_text(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: No such file"):
        load_file(tmp_path / "none.yaml", Config())
    with pytest.raises(ConfigError, match="Is a directory"):
        load_file(tmp_path, Config())
    binary = tmp_path / "policy.onnx"
    binary.write_bytes(os.urandom(64) + b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"policy\.onnx: not YAML"):
        load_file(binary, Config())
