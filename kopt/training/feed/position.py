"""Position: a position in the data of a run, by which another process finds it again."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Position:
    """A position in the data of a run, in numbers.

    Attributes:
        begun: Epochs that have begun.
        passes: Passes over the data that have begun.
        seen: Steps of the pass.
        done: Steps of the epoch.
        running: Whether the pass goes on.
        exhausted: Whether the epoch has come to the end of data whose length was unknown.
        found: The number of batches, as far as it is known.
        size: The steps of the next chunk.
    """

    begun: int
    passes: int
    seen: int
    done: int
    running: bool
    exhausted: bool
    found: int | None
    size: int
