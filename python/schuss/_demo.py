# SPDX-License-Identifier: MIT
"""The demonstration behind ``python -m schuss demo``: two trainings on real data."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import schuss
from schuss import nn, optim
from schuss.datasets import load_auto_mpg, load_digits, stratified_holdout

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIGITS_EPOCHS = 60
LINEAR_EPOCHS = 2_000
NETWORK_EPOCHS = 300


@dataclass
class Regression:
    """The regression: held-out R2 of three models on the same rows, and the curves of the last."""

    r2_least_squares: float
    r2_linear: float
    r2_network: float
    loss: list[float]
    held_out_loss: list[float]
    step_us: float
    model: nn.Module
    target: NDArray[np.float64]  # held out, in miles per gallon
    prediction: NDArray[np.float64]


@dataclass
class Digits:
    """The classifier: held-out accuracy, and its curves."""

    accuracy: float
    loss: list[float]
    held_out_loss: list[float]
    step_us: float
    model: nn.Module
    images: NDArray[np.float64]  # held out
    target: NDArray[np.int64]
    prediction: NDArray[np.int64]


@dataclass
class Files:
    """What was written; `picture` is None where matplotlib is missing."""

    digits: Path
    regression: Path
    picture: Path | None


@dataclass
class Demo:
    """Everything the demonstration found."""

    regression: Regression
    digits: Digits
    files: Files


def _r2(prediction: NDArray[Any], target: NDArray[Any]) -> float:
    """Give the share of the variance of `target` that `prediction` explains."""
    residual = np.sum((target - prediction) ** 2)
    return 1.0 - float(residual / np.sum((target - np.mean(target)) ** 2))


def _floats(values: Any) -> list[float]:
    return [float(value) for value in values]


def _step_us(history: schuss.History, rows: int, batch_size: int) -> float:
    steps = len(history.loss) * -(-rows // batch_size)
    return 1e6 * float(np.sum(history.seconds)) / steps


def _print_losses(loss: list[float], held_out_loss: list[float]) -> None:
    """Print the first epoch and six more, evenly spread up to the last."""
    last = len(loss)
    print("    epoch   training loss   held-out loss")
    for epoch in sorted({1, *(max(1, last * part // 6) for part in range(1, 7))}):
        print(f"    {epoch:5d}   {loss[epoch - 1]:13.5f}   {held_out_loss[epoch - 1]:13.5f}")


def _car_features() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give six measures of each car, two 0/1 columns for its origin, and miles per gallon."""
    data, mpg = load_auto_mpg(return_X_y=True)
    origin = data[:, 6]
    return np.column_stack([data[:, :6], origin == 2.0, origin == 3.0]), mpg


def _scaler(values: NDArray[np.float64]) -> tuple[Any, Any]:
    """Give the shift and the divisor that take `values` to -1..1, a column at a time.

    Only the smallest and the largest value enter, which every machine finds alike: a mean would
    bring the order of NumPy's sum into the inputs, and with it into the bits of the parameters.
    """
    low, high = values.min(axis=0), values.max(axis=0)
    return (low + high) / 2.0, (high - low) / 2.0


def regression(seed: int) -> Regression:
    """Predict the fuel consumption of cars: least squares, the same line by descent, a network."""
    features, mpg = _car_features()
    out = stratified_holdout(mpg)
    x_shift, x_scale = _scaler(features[~out])
    y_shift, y_scale = _scaler(mpg[~out])
    X = (features - x_shift) / x_scale
    y = (mpg - y_shift) / y_scale

    design = np.column_stack([X, np.ones(len(X))])
    coefficients = np.linalg.lstsq(design[~out], y[~out], rcond=None)[0]
    r2_least_squares = _r2(design[out] @ coefficients, y[out])

    criterion = nn.MSELoss()
    schuss.manual_seed(seed)
    line = nn.Linear(X.shape[1], 1)
    schuss.fit(
        line,
        criterion,
        optim.SGD(line.parameters(), lr=0.1, momentum=0.9),
        X[~out],
        y[~out],
        epochs=LINEAR_EPOCHS,
        batch_size=None,
    )
    r2_linear = _r2(np.ravel(schuss.predict(line, X[out])), y[out])

    model = nn.Sequential(
        nn.Linear(X.shape[1], 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)
    )
    history = schuss.fit(
        model,
        criterion,
        optim.SGD(model.parameters(), lr=0.03, momentum=0.9, weight_decay=1e-3),
        X[~out],
        y[~out],
        epochs=NETWORK_EPOCHS,
        batch_size=32,
        shuffle=True,
        seed=seed,
        validation_data=(X[out], y[out]),
    )
    prediction = np.ravel(schuss.predict(model, X[out])).astype(np.float64)
    return Regression(
        r2_least_squares=r2_least_squares,
        r2_linear=r2_linear,
        r2_network=_r2(prediction, y[out]),
        loss=_floats(history.loss),
        held_out_loss=_floats(history.val_loss),
        step_us=_step_us(history, int(np.count_nonzero(~out)), 32),
        model=model,
        target=mpg[out],
        prediction=prediction * y_scale + y_shift,
    )


def digits(seed: int, epochs: int = DIGITS_EPOCHS) -> Digits:
    """Read handwritten digits with a network of one hidden layer.

    Label smoothing keeps the network from growing ever surer of the rows it has seen; it is worth
    a percent of held-out accuracy here. It also is why the loss stays above 0.5.
    """
    images, labels = load_digits(return_X_y=True)
    out = stratified_holdout(labels)
    X = images / 16.0
    schuss.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    history = schuss.fit(
        model,
        nn.CrossEntropyLoss(label_smoothing=0.1),
        optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4),
        X[~out],
        labels[~out],
        epochs=epochs,
        batch_size=64,
        shuffle=True,
        seed=seed,
        validation_data=(X[out], labels[out]),
    )
    prediction = np.argmax(schuss.predict(model, X[out]), axis=1)
    return Digits(
        accuracy=float(np.mean(prediction == labels[out])),
        loss=_floats(history.loss),
        held_out_loss=_floats(history.val_loss),
        step_us=_step_us(history, int(np.count_nonzero(~out)), 64),
        model=model,
        images=images[out],
        target=labels[out],
        prediction=prediction,
    )


def draw(file: Path, cars: Regression, reader: Digits) -> None:
    """Draw held-out digits as they were read, both loss curves, and the cars.

    Of the digits, those read wrongly come first, in red, with what the label says.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.0, 4.2), layout="constrained")
    thirds: Any = figure.subfigures(1, 3)
    left, middle, right = thirds
    right_first = np.argsort(reader.prediction == reader.target, kind="stable")
    for axes, row in zip(left.subplots(4, 6).flat, right_first, strict=False):
        read, label = int(reader.prediction[row]), int(reader.target[row])
        axes.imshow(reader.images[row].reshape(8, 8), cmap="gray_r")
        axes.set_axis_off()
        axes.set_title(
            str(read) if read == label else f"{read} ({label})",
            color="black" if read == label else "tab:red",
            fontsize=9,
        )
    left.suptitle(f"digits held out: {reader.accuracy:.1%} read rightly")
    upper, lower = middle.subplots(2, 1)
    for axes, name, loss, held_out_loss in (
        (upper, "digits, cross-entropy", reader.loss, reader.held_out_loss),
        (lower, "cars, squared error", cars.loss, cars.held_out_loss),
    ):
        axes.semilogy(range(1, len(loss) + 1), loss, label="training")
        axes.semilogy(range(1, len(loss) + 1), held_out_loss, label="held out")
        axes.set(xlabel="epoch", title=name)
        axes.legend()
    scatter = right.subplots()
    ends = [float(np.min(cars.target)), float(np.max(cars.target))]
    scatter.plot(ends, ends, color="gray", linewidth=0.8)
    scatter.plot(cars.target, cars.prediction, ".")
    scatter.set(
        xlabel="miles per gallon",
        ylabel="predicted",
        title=f"cars: R² {cars.r2_network:.3f} (least squares {cars.r2_least_squares:.3f})",
    )
    figure.savefig(file, dpi=120)


def _save(folder: Path, cars: Regression, reader: Digits) -> Files:
    folder.mkdir(parents=True, exist_ok=True)
    files = Files(folder / "digits.safetensors", folder / "cars.safetensors", None)
    schuss.save(reader.model, files.digits)
    schuss.save(cars.model, files.regression)
    if importlib.util.find_spec("matplotlib") is not None:
        files.picture = folder / "demo.png"
        draw(files.picture, cars, reader)
    return files


def run(seed: int = 0, out: Path = Path("schuss-demo"), epochs: int = DIGITS_EPOCHS) -> Demo:
    """Train both models, print what came out, and save models and picture.

    Parameters
    ----------
    seed : int, default 0
        Of the starting weights and of the shuffling.
    out : Path
        Folder for the files; made if it is not there.
    epochs : int, default 60
        Epochs of the digit classifier.

    Returns
    -------
    Demo
        The numbers and the paths.
    """
    info = schuss.info()
    print(f"schuss {info['version']}: {info['isa']} kernels, {info['threads']} thread(s)")
    print(f"built with {info['compiler']}, arithmetic version {info['arithmetic']}, seed {seed}")

    print("\nCars: miles per gallon from eight features, 392 cars, every fifth held out")
    cars = regression(seed)
    print("  network 8-64-64-1, ReLU, squared error, batches of 32")
    _print_losses(cars.loss, cars.held_out_loss)
    print("    R² on the cars held out")
    print(f"      least squares (NumPy)        {cars.r2_least_squares:.4f}")
    print(f"      the same line, by descent    {cars.r2_linear:.4f}")
    print(f"      network                      {cars.r2_network:.4f}")
    print(f"    {cars.step_us:.1f} µs a step")

    print("\nDigits: 1,797 handwritten digits of 8x8 pixels, every fifth held out, class by class")
    reader = digits(seed, epochs)
    print("  network 64-128-10, ReLU, cross-entropy with label smoothing 0.1, batches of 64")
    _print_losses(reader.loss, reader.held_out_loss)
    right = int(np.count_nonzero(reader.prediction == reader.target))
    print(f"    accuracy on the digits held out {reader.accuracy:.2%}", end="")
    print(f" ({right} of {len(reader.target)})")
    print(f"    {reader.step_us:.1f} µs a step")

    files = _save(out, cars, reader)
    print(f"\nmodels   {files.digits}, {files.regression}  (schuss.load reads them)")
    if files.picture is None:
        print("picture  none: matplotlib is not installed (pip install matplotlib)")
    else:
        print(f"picture  {files.picture}")
    return Demo(cars, reader, files)
