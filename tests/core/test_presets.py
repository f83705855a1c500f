"""What ships as settings: what a machine asks for, what a task asks for, and what comes out of both."""

from __future__ import annotations

from importlib import resources
from typing import Any

import pytest
import yaml

from ddiffpg_core.config import Config, ConfigError, to_dict
from ddiffpg_core.defaults import for_task, load_preset, presets, tasks_with_settings
from ddiffpg_sim import tasks

FOLDER = resources.files("ddiffpg_core") / "presets"
# What a run on a CPU has used since the first policies were trained; a change here is a change of what users get.
CPU: dict[str, dict[str, Any]] = {
    "train": {"iterations": 6000, "num_envs": 64, "sim_threads": 1, "torch_threads": 1, "warmup_iterations": 120,
              "updates_per_iteration": 2, "recluster_every": 100, "log_every": 100, "eval_every": 1000,
              "eval_episodes": 20, "final_episodes": 100, "checkpoint_every": 500, "fade_from": 0.7, "device": "cpu"},
    "actor": {"hidden": [128, 128, 128], "denoising_steps": 5, "embedding_dim": 8, "time_dim": 16,
              "learning_rate": 0.0005, "ema": 0.997},
    "critic": {"hidden": [128, 128], "atoms": 51, "value_max": 1.2, "learning_rate": 0.0005, "tau": 0.02,
               "gamma": 0.98, "n_step": 3, "batch_size": 256, "min_group_rows": 48},
    "improve": {"steps": 4, "learning_rate": 0.06, "candidates": 4},
    "novelty": {"hidden": [128, 128], "features": 64, "learning_rate": 0.0003, "scale": 0.004, "clip": 6.0},
    "explore": {"explorer_share": 0.5, "sigma_min": 0.05, "sigma_max": 0.5, "hold_steps": 8, "hold_scale": 0.7,
                "finder_share": 0.5, "switch_share": 0.5, "null_share": 0.25},
    "replay": {"trajectories": 4000, "own_share": 0.34, "any_share": 0.33},
    "modes": {"path_points": 20, "library": 240, "new_per_call": 60, "max_modes": 8, "min_cluster": 4,
              "joined": 0.9, "outliers_max": 0.25, "longest_detour": 2.0},
}
ASKED: dict[str, dict[str, dict[str, Any]]] = {
    "pointmaze-v1": {"train": {"iterations": 3500}, "replay": {"known_at": 100}},
    "pointmaze-v2": {"train": {"iterations": 3000}},
    "pointmaze-v3": {"train": {"iterations": 7500}, "novelty": {"scale": 0.002, "gamma": 0.99},
                     "modes": {"max_modes": 5}, "critic": {"gamma": 0.99, "batch_size": 512, "min_group_rows": 96}},
    "pointmaze-v4": {"train": {"iterations": 7500}},
    **{f"antmaze-{version}": {
        "train": {"iterations": iterations, "fade_from": 0.85, "updates_per_iteration": 6, "eval_every": 2000,
                  "checkpoint_every": 1000},
        "critic": {"gamma": 0.998, "n_step": 5, "value_max": value_max, "low_start": 6.0, "layer_norm": True,
                   "batch_size": 512, "min_group_rows": 128},
        "novelty": {"sees": "path", "cell": 0.25, "n_step": 5, "gamma": 0.99, "clip": 60.0, "scale": scale},
        "explore": {"hold_scale": 0.4, "steady": True, "shake_after": 20, "give_up_after": 150, "by_need": True,
                    "finder_share": 0.8},
        "guide": {"share": 0.001, "ahead": 100, "rivals": 8, "led": 0.5, "reach": 0.0, "known_cost": 20.0},
        "actor": {"candidates": 8, "predicts": "action", "hidden": [256, 256, 256]},
        "replay": {"rare_share": 0.5, "prefer_quick": True, "known_at": 100, "any_share": 0.5,
                   "symmetric": False},
        "improve": {"reach": 0.3, "candidates": 0, "finder_afresh": True},
        "modes": {"min_cluster": 2},
    } for version, iterations, value_max, scale in (
        ("v1", 12000, 12.0, 0.05), ("v2", 15000, 24.0, 0.1), ("v3", 12000, 12.0, 0.05), ("v4", 12000, 12.0, 0.05))},
    **{f"panda-{task}": {
        "train": {"iterations": iterations, "num_envs": 256, "updates_per_iteration": 3},
        "critic": {"low_start": 6.0, "layer_norm": True},
        "novelty": {"sees": "path", "cell": 1.0, "n_step": 3, "clip": 60.0, "scale": 0.005},
        "replay": {"rare_share": 0.5, "prefer_quick": True, "known_at": 100},
        "improve": {"reach": 0.3, "candidates": 0},
    } for task, iterations in (("reach", 4000), ("peg", 2500), ("drawer", 4000), ("cabinet", 4000))},
}


def holds(config: Config, wanted: dict[str, dict[str, Any]]) -> bool:
    """Whether ``config`` has all the values ``wanted``; what a version adds later is free."""
    plain = to_dict(config)
    return all(plain[s] | values == plain[s] for s, values in wanted.items())


# ---- what ships -----------------------------------------------------------------------------------


def test_the_defaults_are_those_of_a_cpu():
    assert load_preset("cpu") == Config()
    assert holds(Config(), CPU)


@pytest.mark.parametrize("task", ASKED)
def test_a_task_on_a_cpu_has_the_settings_it_always_had(task):
    changed = {s: values | ASKED[task].get(s, {}) for s, values in CPU.items()}
    assert holds(load_preset("cpu", task), changed)


@pytest.mark.parametrize("name", presets())
def test_a_preset_holds_what_its_file_says(name):
    assert holds(load_preset(name), yaml.safe_load((FOLDER / f"{name}.yaml").read_text()))


@pytest.mark.parametrize("preset", presets())
@pytest.mark.parametrize("task", tasks.names())
def test_a_task_wins_over_its_family_and_that_over_the_machine_and_its_own_section_over_any(task, preset):
    wanted = to_dict(load_preset(preset))
    for name in (task.split("-")[0], task):
        file = FOLDER / "tasks" / f"{name}.yaml"
        asked = yaml.safe_load(file.read_text()) if file.is_file() else {}
        for part in (asked.get("any", {}), asked.get(preset, {})):
            for section, values in part.items():
                wanted[section] = wanted[section] | values
    assert to_dict(load_preset(preset, task)) == wanted


def test_every_task_says_what_it_asks_for():
    families = {name.split("-")[0] for name in tasks.names()}
    assert set(tasks.names()) <= set(tasks_with_settings()) <= set(tasks.names()) | families
    assert load_preset("cpu", "panda-of-my-own") == load_preset("cpu", "panda")


def test_only_the_preset_gpu_wants_a_gpu():
    assert {name: load_preset(name).train.device for name in presets()} == {"cpu": "cpu", "gpu": "cuda", "quick": "cpu"}


# ---- what a task's file may say -------------------------------------------------------------------

TEXT = """
any: {critic: {gamma: 0.9, atoms: 21}}
gpu: {critic: {gamma: 0.8}}
"""


def test_sections_for_other_presets_change_nothing():
    cpu, gpu = (for_task(Config(), TEXT, preset, "here") for preset in ("cpu", "gpu"))
    assert (cpu.critic.gamma, cpu.critic.atoms) == (0.9, 21)
    assert (gpu.critic.gamma, gpu.critic.atoms) == (0.8, 21)


def test_a_task_without_a_file_asks_for_nothing():
    assert load_preset("quick", "my-own-task") == load_preset("quick")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("critic: {gamma: 0.9}", ["unknown section 'critic'", "known: any, cpu, gpu, quick"]),
        ("gpus: {critic: {gamma: 0.9}}", ["unknown section 'gpus'"]),
        ("gpu: {critic: {gama: 0.9}}", ["gpu: critic", "unknown key 'gama'"]),  # wrong, though it is not used here
        ("any: {critic: {gamma: high}}", ["any: critic: gamma is 'high'"]),
        ("any:", ["any", "expected keys and values"]),
        ("", ["expected sections", "any, cpu"]),
        ("- any", ["expected sections"]),
        ("any: {", ["not YAML"]),
    ],
)
def test_wrong_files_are_named(text, names):
    with pytest.raises(ConfigError) as error:
        for_task(Config(), text, "cpu", "here.yaml")
    for name in ["here.yaml", *names]:
        assert name in str(error.value)


@pytest.mark.parametrize("name", ["fast", "pointmaze-v1", "tasks"])
def test_an_unknown_preset_names_the_known_ones(name):
    with pytest.raises(ConfigError, match=rf"'{name}' does not exist .*known: cpu, gpu, quick"):
        load_preset(name)
