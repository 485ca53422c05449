# SPDX-License-Identifier: MIT
"""What training leaves behind: losses, metrics and times, an entry an epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from schuss._typing import Array

__all__ = ["History"]

_SHOWN_ROWS = 10


class History:
    """Losses, metrics and times of a call of `schuss.fit`.

    Attributes
    ----------
    loss : list of float
        Mean of the batch losses before each update, weighted by rows; one an epoch.
    val_loss : list of float
        Loss on the validation data after each epoch; empty without validation data.
    metrics : dict of str to list of float
        Metrics after each epoch: on the validation data, or where there is none on the training
        data.
    seconds : list of float
        Training time of each epoch, validation and callbacks left out.
    stopped : str or None
        Why training ended before its last epoch: ``"callback"``, ``"interrupted"``,
        ``"not finite"``; None where it did not.

    Examples
    --------
    >>> from schuss import History
    >>> history = History(rows=100)
    >>> history.add(0.5, seconds=0.001)
    >>> history.add(0.25, seconds=0.001)
    >>> history
    History(epochs=2, loss=0.25, samples_per_second=100000)
    >>> print(history)
    epoch  loss  samples/s
        0   0.5     100000
        1  0.25     100000
    """

    def __init__(self, rows: int = 0) -> None:
        self._rows = rows
        self._loss: list[float] = []
        self._seconds: list[float] = []
        # Native loops finish millions of epochs a second: they become Python numbers when read.
        self._unread: list[tuple[Array, float]] = []
        self.val_loss: list[float] = []
        self.metrics: dict[str, list[float]] = {}
        self.stopped: str | None = None

    def add(self, loss: float, seconds: float) -> None:
        """Add an epoch."""
        self.loss.append(float(loss))
        self.seconds.append(float(seconds))

    def extend(self, losses: Array, seconds: float) -> None:
        """Add epochs that took `seconds` together."""
        if len(losses) > 0:
            self._unread.append((losses, seconds))

    def _read(self) -> None:
        for losses, seconds in self._unread:
            self._loss += losses.tolist()
            self._seconds += [seconds / len(losses)] * len(losses)
        self._unread.clear()

    @property
    def loss(self) -> list[float]:
        """Mean loss of each epoch."""
        self._read()
        return self._loss

    @property
    def seconds(self) -> list[float]:
        """Training time of each epoch."""
        self._read()
        return self._seconds

    @property
    def epochs(self) -> int:
        """How many epochs were finished."""
        return len(self.loss)

    @property
    def samples_per_second(self) -> list[float]:
        """Rows trained on per second, for each epoch."""
        return [self._rows / s if s > 0.0 else float("inf") for s in self.seconds]

    def _columns(self) -> dict[str, list[str]]:
        columns = {"loss": [f"{value:.6g}" for value in self.loss]}
        if self.val_loss:
            columns["val_loss"] = [f"{value:.6g}" for value in self.val_loss]
        for name, values in self.metrics.items():
            columns[name] = [f"{value:.6g}" for value in values]
        columns["samples/s"] = [f"{value:.0f}" for value in self.samples_per_second]
        return columns

    def _table(self) -> list[list[str]]:
        """Head and rows as text: all epochs, or some of them evenly spread."""
        columns = self._columns()
        n = self.epochs
        if n <= _SHOWN_ROWS:
            shown = list(range(n))
        else:
            shown = [i * (n - 1) // (_SHOWN_ROWS - 1) for i in range(_SHOWN_ROWS)]
        rows = [["epoch", *columns]]
        for i in shown:
            cells = [column[i] if i < len(column) else "" for column in columns.values()]
            rows.append([str(i), *cells])
        return rows

    def __str__(self) -> str:
        rows = self._table()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
        if self.stopped is not None:
            lines.append(f"stopped: {self.stopped}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        fields = [f"epochs={self.epochs}"]
        for name, column in self._columns().items():
            label = "samples_per_second" if name == "samples/s" else name
            fields += [f"{label}={column[-1]}"] if column else []
        if self.stopped is not None:
            fields.append(f"stopped={self.stopped!r}")
        return f"History({', '.join(fields)})"

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        head, *rows = self._table()
        cells = "".join(f"<th>{name}</th>" for name in map(_escaped, head))
        body = "".join(
            "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows
        )
        return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"

    def plot(self, ax: Any = None) -> Any:
        """Draw losses and metrics over the epochs.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default. Metrics get an axis of their own at the right.

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        ImportError
            matplotlib is missing; the message says how to install it.
        """
        try:
            from matplotlib import pyplot as plt
        except ImportError as error:
            raise ImportError(
                "History.plot needs matplotlib; install it with: pip install 'schuss[plot]'"
            ) from error
        if ax is None:
            _, ax = plt.subplots()
        ax.plot(range(self.epochs), self.loss, label="loss")
        if self.val_loss:
            ax.plot(range(len(self.val_loss)), self.val_loss, label="validation loss")
        ax.set_xlabel("epoch")
        ax.set_ylabel("loss")
        lines = list(ax.get_lines())
        if self.metrics:
            right = ax.twinx()
            for name, values in self.metrics.items():
                lines += right.plot(range(len(values)), values, linestyle="--", label=name)
            right.set_ylabel(", ".join(self.metrics))
        ax.legend(lines, [line.get_label() for line in lines])
        return ax


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
