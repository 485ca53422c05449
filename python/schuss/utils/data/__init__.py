# SPDX-License-Identifier: MIT
"""Data sets and batches of them, with PyTorch's names.

Examples
--------
>>> import numpy as np
>>> from schuss.utils.data import DataLoader, Dataset, random_split
>>> class Squares(Dataset):
...     def __len__(self):
...         return 10
...     def __getitem__(self, index):
...         return np.float32(index), np.float32(index * index)
>>> train, valid = random_split(Squares(), [0.8, 0.2], seed=0)
>>> [xb.shape for xb, yb in DataLoader(train, batch_size=3)]
[(3,), (3,), (2,)]
"""

from schuss.utils.data.collate import default_collate
from schuss.utils.data.dataset import (
    ConcatDataset,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    random_split,
)
from schuss.utils.data.loader import DataLoader
from schuss.utils.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
)

__all__ = [
    "BatchSampler",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "default_collate",
    "random_split",
]
