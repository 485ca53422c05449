# SPDX-License-Identifier: MIT
"""What losses measure: squared error, cross-entropy, and why accuracy cannot be descended on."""

import torch
import torch.nn.functional as F
from torch import nn

dtype = torch.float64

prediction = torch.tensor([[0.3, 0.2, 0.5]], dtype=dtype, requires_grad=True)
one_hot = torch.tensor([[0.0, 0.0, 1.0]], dtype=dtype)
by_hand = -torch.sum(one_hot * torch.log(prediction))
by_hand.backward()
summed = nn.MSELoss(reduction="sum")(prediction, one_hot)
mean = nn.MSELoss()(prediction, one_hot)

logits = torch.tensor(
    [[10.0, 1.0, -2.0], [1.0, 4.0, 0.2], [0.5, 0.5, 0.5]], dtype=dtype, requires_grad=True
)
labels = torch.tensor([1, 0, 2])
weight = torch.tensor([1.0, 2.0, 4.0], dtype=dtype)
entropy = F.cross_entropy(logits, labels, weight=weight)
entropy.backward()
picked = -torch.log_softmax(logits, dim=1)[torch.arange(3), labels]
weighted = (weight[labels] * picked).sum() / weight[labels].sum()

score = torch.tensor([-2.0, 0.5, 3.0], dtype=dtype, requires_grad=True)
torch.sigmoid(score).sum().backward()
moved = (score.detach() + 0.01 > 0) == (score.detach() > 0)

result = {
    "by_hand": by_hand.item(),
    "gradient": prediction.grad.tolist(),
    "summed": summed.item(),
    "mean": mean.item(),
    "entropy": entropy.item(),
    "weighted": weighted.item(),
    "d_logits": logits.grad.tolist(),
    "d_score": score.grad.tolist(),
    "unmoved": moved.tolist(),
}
