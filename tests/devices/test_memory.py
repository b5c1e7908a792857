"""The estimate of memory, against sizes counted by hand."""

import psutil
import pytest

from jaxrnn.config import TrainConfig
from jaxrnn.devices.memory import refuse_what_cannot_fit
from jaxrnn.errors import ConfigurationError


@pytest.mark.parametrize(("both_ways", "gib"), [(False, "6.1"), (True, "12.2")])
def test_layers_of_two_directions_take_twice_the_activations(both_ways, gib, monkeypatch):
    """8 numbers for each of 100 features, 2 layers, 1000 steps, 1024 rows, 4 bytes each: 6.10 GiB a direction."""
    free = type("Free", (), {"available": 0})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    sizes = {"task": "adding", "sequence_length": 1000, "batch_size": 1024, "layers": 2}
    config = TrainConfig(**sizes, bidirectional=both_ways)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=rf"activations: {gib} GiB\), 0.0 GiB are free; .*--batch-size"):
        refuse_what_cannot_fit(config, parameters=0, symbols=0, characters=0)
