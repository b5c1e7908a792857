import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

state = torch.load(sys.argv[1], weights_only=True)  # of torch.save(model.state_dict(), ...)
state = state.get("state_dict", state)  # what else a checkpoint holds, such as the optimizer, stays behind
save_file({name: value.clone().contiguous() for name, value in state.items()}, "torch.safetensors")

text = Path(sys.argv[2]).read_text("utf-8")
symbols = sorted(set(text))  # as the training program made its ids; in another order, write them down in that one
with open("symbols.json", "w", encoding="utf-8") as file:
    json.dump({symbol: number for number, symbol in enumerate(symbols)}, file)
