"""Each rule reads what its row of the table says; `test_optimizer.py` holds its numbers against NumPy."""

import pytest

from jaxrnn.config import CHOICES, TrainConfig
from jaxrnn.optim import rules
from jaxrnn.optim.optimizer import OptimizerSettings
from jaxrnn.optim.table import OPTIMIZERS


class Read:
    """Settings that note which of them were read."""

    def __init__(self, settings):
        self.settings, self.read = settings, set()

    def __getattr__(self, name):
        self.read.add(name)
        return getattr(self.settings, name)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_rule_uses_the_constants_of_its_row(name):
    """Those of the momentum are read by the chain, and the settings refuse every other one."""
    settings = Read(OptimizerSettings(name))
    getattr(rules, name)(settings)
    of_momentum = {"momentum", "nesterov"} & set(OPTIMIZERS[name])
    assert settings.read | of_momentum == set(OPTIMIZERS[name])
    assert set(OPTIMIZERS[name]) <= set(TrainConfig.__dataclass_fields__) & set(OptimizerSettings._fields)


def test_the_settings_know_the_rules():
    assert CHOICES["optimizer"] == tuple(OPTIMIZERS)
