"""What one trial cannot take is told by name, and what it can is planned."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from gradatlas.sweeps.errors import UserError
from gradatlas.sweeps.planning.impossible import reject_impossible, reject_too_many_cpus
from gradatlas.sweeps.planning.machine import Node
from gradatlas.sweeps.spec.presets import preset_files
from gradatlas.sweeps.spec.sweep import Sweep, load_sweep, parse_sweep

SMALL = Node(cpus=2, gpus=0, memory=4 * 2**30, gpu_memory=0)


def _sweep(text: str, **fixed: Any) -> Sweep:
    small = {"width": 8, "steps": 2, "batch_size": 8}
    return parse_sweep({"fixed": small | fixed, **tomllib.loads(text)}, "s.toml")


@pytest.mark.parametrize(
    ("text", "fixed", "message"),
    [
        ("", {"width": 10**7}, r"fixed\.width: one trial must fit the 4 GiB of memory here, but with width"),
        ("", {"width": 2**62, "batch_size": 1000}, r"fixed\.width: "),
        ("scientific.depth = [2, 1000000000]", {}, r"scientific\.depth: .* with depth = 1000000000 it is"),
        ("scientific.depth = { low = 2, high = 1000000000 }", {}, r"scientific\.depth: one trial must fit"),
        ("nuisance.depth = [2, 30]", {"width": 100_000}, r"fixed\.width: "),
        ("", {"steps": 10**12}, r"fixed\.steps: "),
        ("", {"measure_steps": 10**12}, r"fixed\.measure_steps: one trial must fit"),
        ("scientific.depth = [2, 10000000]", {"family": "rnn", "task": "adding"}, r"scientific\.depth: "),
        ('[[part]]\nname = "a"\n[[part]]\nname = "b"\nfixed.width = 10000000', {}, r"part b: fixed\.width: "),
    ],
)
def test_a_trial_that_fits_no_machine_is_told_by_its_parameter(text, fixed, message):
    with pytest.raises(UserError, match=message):
        reject_impossible(_sweep(text, **fixed), [SMALL])


def test_a_trial_that_takes_over_a_month_is_told_also_without_a_machine():
    long = _sweep("", width=1000, depth=50, batch_size=1000, steps=10**8)
    with pytest.raises(UserError, match=r"steps: one trial must take at most 720\.0 h, but with steps"):
        reject_impossible(long, ())
    reject_impossible(_sweep("", width=1000, depth=50, batch_size=1000, steps=10**5), ())


def test_a_larger_machine_takes_what_a_small_one_refuses():
    wide = _sweep("", width=20_000, depth=2, batch_size=1)
    with pytest.raises(UserError, match=r"fixed\.width"):
        reject_impossible(wide, [SMALL])
    reject_impossible(wide, [SMALL, Node(cpus=2, gpus=0, memory=64 * 2**30, gpu_memory=0)])


def test_two_ends_that_no_point_has_to_have_together_are_no_reason():
    ranges = "scientific.depth = { low = 2, high = 2000 }\nscientific.width = { low = 2, high = 8000 }"
    reject_impossible(parse_sweep(tomllib.loads(ranges), "s.toml"), [SMALL])


@pytest.mark.parametrize("name", preset_files())
def test_every_preset_fits_a_laptop(name):
    reject_impossible(load_sweep(preset_files()[name]), [SMALL])


def test_more_cpus_than_there_are_may_be_asked_for_while_their_workers_fit():
    reject_too_many_cpus(SMALL, "--cpus")
    with pytest.raises(
        UserError, match=r"--cpus: must be <= \d+, the workers that 4 GiB of memory hold, but"
    ):
        reject_too_many_cpus(Node(cpus=10**12, gpus=0, memory=4 * 2**30, gpu_memory=0), "--cpus")
