import json
import sys
from pathlib import Path

import torch
from safetensors import safe_open

MODULES = {"RNN": torch.nn.RNN, "LSTM": torch.nn.LSTM, "GRU": torch.nn.GRU}


class FromJaxrnn(torch.nn.Module):
    def __init__(self, path):
        super().__init__()
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            self.about = json.loads(file.metadata()["jaxrnn.torch"])
        self.start = [tensors.pop(name) for name in ("h_0", "c_0") if name in tensors]  # learned; else from zeros
        self.rnn = MODULES[self.about["rnn"]](**self.about["options"])
        self.linear = torch.nn.Linear(*tensors["linear.weight"].T.shape)
        if "embedding.weight" in tensors:
            self.embedding = torch.nn.Embedding(*tensors["embedding.weight"].shape)
        self.to(tensors["linear.weight"].dtype).load_state_dict(tensors)

    def forward(self, ids, state=None):  # ids (T, B) to logits (T, B, V)
        if state is None and self.start:
            state = [part.repeat(1, ids.shape[1], 1) for part in self.start]
            state = state if len(state) == 2 else state[0]
        one_hot = torch.nn.functional.one_hot
        xs = self.embedding(ids) if hasattr(self, "embedding") else one_hot(ids, self.rnn.input_size)
        hs, state = self.rnn(xs.to(self.linear.weight.dtype), state)
        return self.linear(hs), state


model = FromJaxrnn(sys.argv[1])
symbols = model.about["vocabulary"]["symbols"]
ids = torch.tensor([symbols.index(symbol) for symbol in Path(sys.argv[2]).read_text("utf-8")])[:, None]
with torch.no_grad():
    loss = torch.nn.functional.cross_entropy(model(ids[:-1])[0][:, 0], ids[1:, 0])
print(f"{loss.item():.6f} nats a character")
