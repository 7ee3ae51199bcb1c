"""A PyTorch classifier, accelerated by one line: which of nine speakers said the two vowels?"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

import gatewise
from gatewise.data import StandardScaler
from gatewise.data.datasets import load_japanese_vowels


class Classifier(nn.Module):
    """A torch.nn.LSTM over series of different lengths; its last hidden state names the speaker."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(12, 100, batch_first=True)
        self.output = nn.Linear(100, 9)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return the scores (B, 9) of x (B, T, 12)."""
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        _, (h, _) = self.lstm(packed)
        return self.output(h[-1])


torch.manual_seed(0)
data = load_japanese_vowels()
scaler = StandardScaler.fit(data.train.x)


def as_tensors(series: list) -> tuple[Tensor, Tensor]:
    """Return scaled series as x (B, T, 12) with zeros after their end, and their lengths (B,)."""
    scaled = [torch.from_numpy(one) for one in scaler(series)]
    return pad_sequence(scaled, batch_first=True), torch.tensor([len(one) for one in scaled])


x, lengths = as_tensors(data.train.x)
y = torch.from_numpy(data.train.y)

model = Classifier()
model = gatewise.accelerate(model, probe=(x[:8], lengths[:8]))  # the one line
print(gatewise.nn.acceleration_report(model))

optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
for epoch in range(1, 21):
    total = 0.0
    for batch in torch.randperm(len(x)).split(32):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x[batch], lengths[batch]), y[batch])
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)
    if epoch % 5 == 0:
        print(f"epoch {epoch}: loss {total / len(x):.4f}")

with torch.no_grad():
    predicted = model(*as_tensors(data.test.x)).argmax(dim=1).numpy()
accuracy = (predicted == data.test.y).mean()
print(f"Test accuracy {accuracy:.3f}; the majority alone gives {data.majority_accuracy():.3f}.")
