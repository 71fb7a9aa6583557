"""Pairs for the contrastive loss, drawn from an index of the classes, without reading images."""

from dataclasses import dataclass

import numpy as np

from dcube.data.prepared import UNLABELLED
from dcube.engine.seeds import numpy_generator


@dataclass(frozen=True)
class Pairs:
    """The pairs of one epoch, or of a batch of it. All arrays have shape (n,).

    Attributes:
        first, second: positions in the training set; in one epoch, `first` contains every image once.
        different: Y of Eq. (4), whether the two labels differ.
        labelled: whether both have a label, so that Eq. (4) applies.
    """

    first: np.ndarray
    second: np.ndarray
    different: np.ndarray
    labelled: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, chunk: slice) -> "Pairs":
        return Pairs(self.first[chunk], self.second[chunk], self.different[chunk], self.labelled[chunk])


class PairSampler:
    """Sampler of the pairs of an epoch, a pure function of (seed, epoch).

    Half of the labelled images get a partner of their own class. The other half get one of another class, with equal
    probability for every other class, so that rare classes occur. An unlabelled image gets any image.
    """

    def __init__(self, labels: np.ndarray, seed: int) -> None:
        self.labels, self.seed = labels, seed
        self.members = np.argsort(labels, kind="stable")
        self.classes, self.starts, self.counts = np.unique(labels[self.members], return_index=True, return_counts=True)
        self.class_position = np.searchsorted(self.classes, labels)
        self.first_class = int(self.classes[0] == UNLABELLED)

    def epoch(self, epoch: int) -> Pairs:
        generator = numpy_generator(self.seed, "pairs", epoch)
        first = generator.permutation(len(self.labels))
        labelled = self.labels[first] != UNLABELLED
        different = np.zeros(len(first), dtype=bool)
        different[labelled] = generator.permutation(int(labelled.sum())) % 2 == 1
        second = self._member(self._partner_class(first, different, generator), generator)
        second = np.where(labelled, second, generator.integers(len(first), size=len(first)))
        return Pairs(first, second, different, labelled)

    def _partner_class(self, first: np.ndarray, different: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        own = self.class_position[first]
        others = len(self.classes) - self.first_class - 1
        shift = generator.integers(1, max(others, 1) + 1, size=len(first))
        other = (own - self.first_class + shift) % (others + 1) + self.first_class
        return np.where(different, other, own)

    def _member(self, class_position: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        offset = (generator.random(len(class_position)) * self.counts[class_position]).astype(np.int64)
        return self.members[self.starts[class_position] + offset]
