"""What `headrace train` does: replay, fit, register, and through the gates if it is to be promoted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import msgspec

from headrace.bootstrap import Stretch, fit_stretch
from headrace.cards import open_guard
from headrace.promotion import through_gates, use_case_of
from headrace.settings import Settings
from headrace.source import FileSource
from scoring.live_models import registry_of
from training.batch import SplitDays

TAUGHT_DAYS = 28


def run_training(
    settings: Settings,
    use_case: str,
    data: Path,
    mapping: Path | None,
    start: datetime | None,
    end: datetime | None,
    history_days: int,
    share: float,
    family: str,
    promote: bool,
    judge_days: int,
    by: str,
    why: str,
) -> int:
    """Train on a file and register the model. If it is to be promoted, the last days judge it and do not teach.

    The exit status: 0 where it was registered, and promoted if asked.
    """
    chosen = use_case_of(use_case)
    if promote and not by:
        raise click.UsageError("nobody knows who promotes; give --by NAME")
    source = FileSource.open(data, mapping, open_guard(settings))
    first, last = source.span()
    end = last if end is None else end.replace(tzinfo=UTC)
    # As somebody would have trained then: what became known in the days that judge is not used.
    taught_until = end - timedelta(days=judge_days) if promote else end
    begin = max(first, taught_until - timedelta(days=TAUGHT_DAYS)) if start is None else start.replace(tzinfo=UTC)
    stretch = Stretch(begin - timedelta(days=history_days), begin, taught_until, share, SplitDays())
    played = source.between(stretch.start, taught_until)
    replay, trained = fit_stretch(chosen, played, stretch, family, lambda text: click.echo(text, err=True))
    registry = registry_of(settings.home)
    version = registry.register(trained.onnx_bytes, trained.manifest)
    # The profile is for machines: thousands of lines.
    click.echo(msgspec.structs.replace(registry.manifest(use_case, version), profile=None).to_json().decode())
    if not promote:
        click.echo(
            f"registered {use_case} {version}; 'headrace models promote {use_case} {version}' judges it", err=True
        )
        return 0
    frame = replay.advance(source.between(taught_until, end), collect_from=taught_until, share=share, keep_records=True)
    assert frame is not None
    return through_gates(settings, registry, chosen, version, frame, by, why or "headrace train")
