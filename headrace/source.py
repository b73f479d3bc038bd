"""Where played transactions come from: a file through its mapping, or the simulator. One shape for both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar, Protocol

from stream.card_guard import CardGuard
from stream.dataset import read_transactions
from stream.label_values import check_label_values
from stream.mapping import Mapping, load_mapping
from stream.mapping_guess import guess_mapping
from stream.played import Played
from stream.simulator import Simulator

SIMULATED_START = datetime(2026, 1, 1, tzinfo=UTC)
SIMULATED_CUSTOMERS = 400
SIMULATED_MERCHANTS = 120
SIMULATED_FRAUD_SHARE = 0.008
SIMULATED_CHARGEBACK_WINDOW = timedelta(days=7)


class Source(Protocol):
    """Transactions of a span of time, as often as asked."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def is_made_up(self) -> bool:
        """Whether nobody ever paid them: what is learned from them says nothing of the present."""

    def span(self) -> tuple[datetime, datetime]:
        """From the first transaction to the moment after the last."""

    def between(self, start: datetime, end: datetime | None) -> Iterator[Played]:
        """The transactions in `[start, end)` in time order."""


@dataclass(frozen=True)
class FileSource:
    """A Parquet or CSV file."""

    is_made_up: ClassVar[bool] = False
    path: Path
    mapping: Mapping
    name: str
    cards: CardGuard

    @classmethod
    def open(cls, path: Path, mapping: Path | None, cards: CardGuard) -> FileSource:
        """With a mapping, or with the one that the columns fit. Raises `MappingError`."""
        found = guess_mapping(path) if mapping is None else load_mapping(mapping)
        check_label_values(path, found)
        return cls(path, found, path.name, cards)

    def span(self) -> tuple[datetime, datetime]:
        """Read from the file's first and last row."""
        with closing(read_transactions(self.path, self.mapping, limit=1, cards=self.cards)) as rows:
            first = next(rows).transaction.event_timestamp
        last = first
        for one in read_transactions(self.path, self.mapping, cards=self.cards):
            last = one.transaction.event_timestamp
        return first, last + timedelta(microseconds=1)

    def between(self, start: datetime, end: datetime | None) -> Iterator[Played]:
        """Those of the file."""
        return read_transactions(self.path, self.mapping, start=start, end=end, cards=self.cards)


@dataclass(frozen=True)
class SimulatedSource:
    """The built-in simulator: the same world for the same seed."""

    is_made_up: ClassVar[bool] = True
    seed: int
    days: int
    name: str = "simulator"
    customers: int = SIMULATED_CUSTOMERS
    fraud_share: float = SIMULATED_FRAUD_SHARE

    def span(self) -> tuple[datetime, datetime]:
        """From a fixed day on."""
        return SIMULATED_START, SIMULATED_START + timedelta(days=self.days)

    def between(self, start: datetime, end: datetime | None) -> Iterator[Played]:
        """Always simulated from the beginning, so that every part belongs to the same world."""
        world = Simulator(
            self.seed,
            start=SIMULATED_START,
            end=end,
            customers=self.customers,
            merchants=SIMULATED_MERCHANTS,
            fraud_share=self.fraud_share,
            chargeback_window=SIMULATED_CHARGEBACK_WINDOW,
        )
        return (one for one in world.play() if one.transaction.event_timestamp >= start)
