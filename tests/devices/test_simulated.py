from __future__ import annotations

from dataclasses import fields, replace

import gymnasium as gym
import pytest

import compress_gym  # noqa: F401
from compress_gym.devices import Operation, load_device
from compress_gym.devices.energy import analytic_energy_mj
from compress_gym.devices.simulated import SIMULATED

every_simulator = pytest.mark.parametrize("name", SIMULATED)


@every_simulator
def test_a_simulated_device_bounds_an_episode(name):
    env = gym.make("compress_gym/ChannelPrune-v0", task="digits-cnn", device=name, budget=0.5)
    _, info = env.reset(seed=0)
    assert info["device"] == name and info["baseline"]["latency_ms"] > 0 and info["baseline"]["energy_mj"] > 0
    terminated = False
    while not terminated:
        *_, terminated, _, info = env.step(env.action_space.sample())
    assert info["feasible"] and info["energy_mj"] < env.unwrapped.problem.baseline_costs["energy_mj"]


@every_simulator
def test_costs_are_the_simulators(name):
    device = load_device(name)
    operation = Operation("conv", 16, 32, 3, 1, 1, 8, 8, *device.bits)
    assert (device.latency_us(operation), device.energy_mj(operation)) == device.simulator.cost(operation)
    assert device.latency_us(operation) == device.latency_us(operation)
    assert device.source(operation) == "simulated" and device.network_us == 0 and len(device.digest) == 16
    with pytest.raises(ValueError, match="bits=32"):
        device.latency_us(Operation("conv", 16, 32, 3, 1, 1, 8, 8))


def test_measured_devices_have_analytic_energy():
    operation = Operation("conv", 1, 32, 3, 1, 1, 16, 16)
    assert load_device("xeon-ort-fp32").energy_mj(operation) == analytic_energy_mj(operation) > 0


DIGESTS = {"bismo-cloud": "b52b63576ad4a6cb", "bismo-edge": "76af906f4dc3fe7f", "bitfusion": "45d19e2bd1c1041c"}


@every_simulator
def test_a_digest_changes_with_every_constant_and_with_the_answers(name):
    """Stored runs and entries hold these digests."""
    device = load_device(name)
    assert device.digest == DIGESTS[name]
    found = {device.digest, replace(device, batch=2).digest, replace(device, bits=(4, 4)).digest}
    for field in fields(device.simulator):
        value = getattr(device.simulator, field.name)
        changed = replace(device.simulator, **{field.name: type(value)(value * 2)})
        assert replace(device, simulator=changed)._answers() != device._answers(), field.name
        found.add(replace(device, simulator=changed).digest)
    assert len(found) == 3 + len(fields(device.simulator))


def test_a_digest_changes_with_code_that_answers_otherwise(monkeypatch):
    device = load_device("bismo-edge")

    class Bismo(type(device.simulator)):
        def cost(self, operation):
            latency_us, energy_mj = super().cost(operation)
            return latency_us, 1.001 * energy_mj

    assert repr(Bismo()).endswith(repr(device.simulator))
    monkeypatch.setattr(Bismo, "__repr__", type(device.simulator).__repr__)
    found = replace(device, simulator=Bismo()).digest
    assert found != device.digest and found == replace(device, simulator=Bismo()).digest
