# SPDX-License-Identifier: MIT
"""Lesson 5: losses. Sums and means, cross-entropy in two logarithm bases, loss against accuracy.

After a course note on loss functions.

    python examples/losses.py --plot losses.png
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from schuss import nn

PREDICTION = np.array([[0.3, 0.2, 0.5]])  # probabilities of three classes
ONE_HOT = np.array([[0.0, 0.0, 1.0]])

# A hundred points on a line, two classes that overlap: a class of its own on each side, and every
# fifth label the other one.
POINTS = np.linspace(-1.98, 1.98, 100).reshape(-1, 1)
LABELS = ((POINTS > 0.0) != (np.arange(100).reshape(-1, 1) % 5 == 2)).astype(np.float64)


@dataclass
class Results:
    """All numbers of the lesson."""

    squared_sum: float
    squared_mean: float
    cross_entropy_nats: float
    cross_entropy_base_10: float
    cross_entropy_of_class_index: float
    biases: list[float]
    accuracy: list[float]
    loss: list[float]
    step_gradient: float
    sigmoid_gradient: float


def squared_errors() -> tuple[float, float]:
    """Give the sum and the mean of the squared errors of the prediction against the label."""
    total = nn.MSELoss(reduction="sum")(PREDICTION, ONE_HOT).item()
    mean = nn.MSELoss()(PREDICTION, ONE_HOT).item()
    return total, mean


def cross_entropies() -> tuple[float, float, float]:
    """Give the cross-entropy of the prediction in nats, in base 10, and from the class index.

    `CrossEntropyLoss` takes logits and applies softmax itself; softmax(log p) = p when p sums to
    one, so log p is the logits of a prediction that is already made of probabilities. The loss is
    -log(0.5). A book that prints 0.30103 used the base-10 logarithm; the natural one, which every
    library uses, is larger by ln 10 = 2.302585: 0.6931472.
    """
    logits = np.log(PREDICTION)
    criterion = nn.CrossEntropyLoss()
    nats = criterion(logits, ONE_HOT).item()
    from_index = criterion(logits, np.array([2])).item()
    return nats, nats / float(np.log(10.0)), from_index


def sweep() -> tuple[list[float], list[float], list[float]]:
    """Give accuracy and loss of the classifier sigmoid(x + b) while its bias changes a little.

    Accuracy counts: it stays where it is until a point changes sides, so its slope is zero almost
    everywhere, and nothing tells in which direction to change the bias. The loss notices every
    change. That is why the loss is what is minimised. (The note's own case: 45 of 100 right before
    and after a small change, while the loss goes from 0.92456 to 0.93148.)
    """
    model = nn.Linear(1, 1, dtype=np.float64)
    nn.init.ones_(model.weight)
    criterion = nn.BCEWithLogitsLoss()
    biases = [step / 100.0 for step in range(-40, 41)]
    accuracy, loss = [], []
    for bias in biases:
        nn.init.constant_(model.bias, bias)
        logits = model(POINTS)
        loss.append(criterion(logits, LABELS).item())
        right = (logits.detach().numpy() > 0.0) == (LABELS > 0.5)
        accuracy.append(float(np.mean(right)))
    return biases, accuracy, loss


def gradient_through(activation: nn.Module) -> float:
    """Give the gradient that reaches the weight through `activation`, for one point and MSE."""
    linear = nn.Linear(1, 1, bias=False, dtype=np.float64)
    nn.init.constant_(linear.weight, 0.5)
    model = nn.Sequential(linear, activation)
    nn.MSELoss()(model(np.array([[1.0]])), np.array([[0.0]])).backward()
    return float(linear.weight.grad.item())


def draw(file: Path, results: Results) -> None:
    """Draw loss and accuracy over the weight, and the step beside the sigmoid."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(results.biases, results.accuracy, ".", color="tab:blue")
    left.set(xlabel="bias", title="accuracy has steps, the loss a slope")
    left.set_ylabel("accuracy", color="tab:blue")
    loss_axes = left.twinx()
    loss_axes.plot(results.biases, results.loss, color="tab:orange")
    loss_axes.set_ylabel("loss", color="tab:orange")
    x = np.linspace(-6.0, 6.0, 401)
    sigmoid = 1.0 / (1.0 + np.exp(-x))
    right.plot(x, x > 0.0, label="step")
    right.plot(x, sigmoid, label="sigmoid")
    right.plot(x, sigmoid * (1.0 - sigmoid), "--", label="slope of the sigmoid")
    right.set(xlabel="x", title="a step has slope 0 on both sides")
    right.legend()
    figure.savefig(file, dpi=120)


def main(plot: Path | None = None) -> Results:
    """Run the lesson and give its numbers."""
    total, mean = squared_errors()
    nats, base_10, from_index = cross_entropies()
    biases, accuracy, loss = sweep()
    results = Results(
        squared_sum=total,
        squared_mean=mean,
        cross_entropy_nats=nats,
        cross_entropy_base_10=base_10,
        cross_entropy_of_class_index=from_index,
        biases=biases,
        accuracy=accuracy,
        loss=loss,
        step_gradient=gradient_through(nn.Step()),
        sigmoid_gradient=gradient_through(nn.Sigmoid()),
    )
    print(f"squared errors of (0.3, 0.2, 0.5) against (0, 0, 1): sum {total:.2f}, mean {mean:.6f}")
    print(f"cross-entropy: {nats:.7f} nats = {base_10:.5f} in base 10 (nats / ln 10)")
    print(f"the same from the class index 2 in place of the one-hot label: {from_index:.7f}")
    print("a bias that changes a little")
    for bias, share, value in list(zip(biases, accuracy, loss, strict=True))[:10]:
        print(f"  bias {bias:.2f}  accuracy {share:.2f}  loss {value:.5f}")
    print(f"gradient through a step {results.step_gradient:g}, ", end="")
    print(f"through a sigmoid {results.sigmoid_gradient:.6f}")
    if plot is not None:
        draw(plot, results)
        print(f"picture: {plot}")
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw (needs matplotlib)")
    main(parser.parse_args().plot)
