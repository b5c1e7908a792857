import json
import sys
from pathlib import Path

import jax.export
import numpy as np
from safetensors import safe_open

folder = Path(sys.argv[1])
with safe_open(folder / "model.safetensors", "np") as file:
    tensors = {name: file.get_tensor(name) for name in file.keys()}
    symbols = json.loads(file.metadata()["jaxrnn"])["vocabulary"]["symbols"]
score, sample = (
    jax.export.deserialize(bytearray((folder / f"{name}.stablehlo").read_bytes())) for name in ("score", "sample")
)


def start(streams):
    carry = {n.removeprefix("initial_carry."): v for n, v in tensors.items() if n.startswith("initial_carry.")}
    return {name: np.repeat(value, streams, axis=0) for name, value in carry.items()}


text = Path(sys.argv[2]).read_text("utf-8")
ids = np.array([symbols.index(symbol) for symbol in text], np.int32)[:, None]
_, log_p = score.call(tensors, start(1), ids)
print(f"{-log_p.mean():.6f} nats a character")

given = np.full((201, 2), -1, np.int32)  # two streams of 200 symbols
given[0] = symbols.index("\n") if "\n" in symbols else 0
_, written = sample.call(tensors, start(2), given, np.float32(0.7), np.array([0, 1], np.uint32), np.int32(0))
for stream in np.asarray(written[1:]).T:
    print("---", "".join(symbols[number] for number in stream), sep="\n")
