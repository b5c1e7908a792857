"""`classify.py` in PyTorch: the same data, network, optimizer and epochs."""

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

rng = np.random.default_rng(0)
sequences = [rng.normal(size=(length, 2)).astype(np.float32) for length in rng.integers(5, 21, 2000)]
classes = np.array([sequence[:, 0].sum() > 0 for sequence in sequences]).astype(int)
torch.manual_seed(0)
inputs = pad_sequence([torch.from_numpy(sequence) for sequence in sequences])  # (T, N, F)
lengths, targets = torch.tensor([len(sequence) for sequence in sequences]), torch.from_numpy(classes)


class Classifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.out = torch.nn.GRU(2, 32), torch.nn.Linear(32, 2)

    def forward(self, xs, lengths):
        hs, _ = self.gru(xs)
        return self.out(hs[lengths - 1, torch.arange(len(lengths))])


model = Classifier()
adam = torch.optim.Adam(model.parameters(), lr=1e-2)
for _ in range(10):
    for rows in torch.randperm(1600).split(64):
        loss = torch.nn.functional.cross_entropy(model(inputs[:, rows], lengths[rows]), targets[rows])
        adam.zero_grad()
        loss.backward()
        adam.step()
with torch.no_grad():
    right = model(inputs[:, 1600:], lengths[1600:]).argmax(1) == targets[1600:]
print(f"accuracy {right.float().mean().item():.3f}")
