# SPDX-License-Identifier: MIT
"""A classifier of small made-up pictures with a data set, a loader and a Sequential."""

import numpy as np
import torch
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

dtype = torch.float64
rng = np.random.default_rng(8)
prototypes = rng.uniform(0.0, 1.0, (10, 64))
labels = np.arange(300) % 10
pictures = prototypes[labels] + rng.normal(0.0, 0.3, (300, 64))

images = torch.tensor(pictures, dtype=dtype)
targets = torch.tensor(labels)
dataset = TensorDataset(images[:240], targets[:240])
loader = DataLoader(dataset, batch_size=32, shuffle=False)
valid_loader = DataLoader(TensorDataset(images[240:], targets[240:]), batch_size=60)

model = nn.Sequential(nn.Linear(64, 24, dtype=dtype), nn.ReLU(), nn.Linear(24, 10, dtype=dtype))
with torch.no_grad():
    for parameter in model.parameters():
        parameter.copy_(torch.tensor(rng.normal(0.0, 0.15, tuple(parameter.shape)), dtype=dtype))
criterion = nn.CrossEntropyLoss()
optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

train_losses, valid_losses, right = [], [], []
for epoch in range(8):
    model.train()
    running = 0.0
    for inputs, classes in loader:
        optimizer.zero_grad()
        loss = criterion(model(inputs), classes)
        loss.backward()
        optimizer.step()
        running += loss.item() * inputs.shape[0]
    train_losses.append(running / len(dataset))
    model.eval()
    correct = 0
    with torch.no_grad():
        for inputs, classes in valid_loader:
            output = model(inputs)
            valid_losses.append(criterion(output, classes).item())
            correct += (output.argmax(dim=1) == classes).sum().item()
    right.append(correct)

result = {"train": train_losses, "valid": valid_losses, "right": right}
result["weights"] = [parameter.detach().numpy().copy() for parameter in model.parameters()]
