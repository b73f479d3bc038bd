"""Traces of some decisions, built after their answers from the times that they carry, for OpenTelemetry (OTLP/HTTP).

The thread that scores only decides whether a decision is followed and puts it into a bounded queue. Another thread
makes spans of it, and OpenTelemetry's batch processor sends them: an endpoint that is slow or gone costs no answer
anything.
"""

from __future__ import annotations

import logging
import math
import random
import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from scoring.background import Background
from stream.records import Decision

WAITING_LIMIT = 1000
"""Decisions that wait to become spans; of more than these, the oldest are dropped."""
QUEUE_LIMIT = 8192
BUILD_INTERVAL_S = 0.2
SEND_TIMEOUT_S = 2.0
FORGO_S = 10.0
"""After a failure, so long nothing is sent: what comes is dropped at once."""
LIBRARY_LOGS = ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal")

# Version 00 has exactly these fields; a later one may have more. The last two digits are the flags.
_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_log = logging.getLogger(__name__)


class Followed(NamedTuple):
    """A decision whose spans are to be made: when its answer was ready, how long it took, and its caller's trace."""

    decision: Decision
    ended_ns: int
    took_ns: int
    traceparent: bytes | None
    is_new: bool


class Traces:
    """Follows a share of the decisions, and all those whose caller does.

    Parameters
    ----------
    share
        Of the decisions whose caller says nothing of a trace. A caller's own sampling is respected: what it does not
        sample is not followed.
    endpoint
        The whole URL, such as `http://127.0.0.1:4318/v1/traces`.
    draw
        Random numbers in [0, 1).
    """

    def __init__(self, share: float, endpoint: str, draw: Callable[[], float] = random.random) -> None:
        self.share = share
        self._draw = draw
        self._waiting: deque[Followed] = deque(maxlen=WAITING_LIMIT)
        for name in LIBRARY_LOGS:
            # They would say the same of every batch; `OnceLogged` says it once.
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        sender = OnceLogged(trace_exporter.OTLPSpanExporter(endpoint, timeout=SEND_TIMEOUT_S), endpoint)
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=Resource.create({"service.name": "headrace"}), shutdown_on_exit=False
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(sender, max_queue_size=QUEUE_LIMIT, schedule_delay_millis=1000)
        )
        self._tracer: Tracer = self._provider.get_tracer("headrace.scoring")
        self._background = Background("traces", self.build, BUILD_INTERVAL_S)

    def start(self) -> None:
        """Make spans in the background from now on."""
        self._background.start()

    def stop(self) -> None:
        """Send what waits, as far as the endpoint takes it within a second or so, and end."""
        self._background.stop()
        self.build()
        self._provider.shutdown()

    def follow(self, decision: Decision, took_s: float, traceparent: bytes | None, is_new: bool = True) -> None:
        """Note a decision that was just answered, if it is to be followed; one that is not new was found again."""
        if traceparent is None or (sampled := is_sampled(traceparent)) is None:
            if self._draw() >= self.share:
                return
            traceparent = None
        elif not sampled:
            return
        self._waiting.append(Followed(decision, time.time_ns(), int(took_s * 1e9), traceparent, is_new))

    def build(self) -> None:
        """Make spans of all that wait."""
        while self._waiting:
            spans_of(self._waiting.popleft(), self._tracer)
            time.sleep(0)  # requests come first


class OnceLogged(SpanExporter):
    """Another exporter, left alone for a while when it fails. The first failure is logged, then that it works again."""

    def __init__(self, sender: SpanExporter, endpoint: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._sender = sender
        self._endpoint = endpoint
        self._clock = clock
        self._failing = False
        self._again_at_s = -math.inf

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See `SpanExporter`. Called by the batch processor's thread."""
        if self._clock() < self._again_at_s:
            return SpanExportResult.FAILURE
        try:
            result = self._sender.export(spans)
        except Exception:  # whatever is wrong with a trace, it is no more than a trace
            result = SpanExportResult.FAILURE
        failing = result is not SpanExportResult.SUCCESS
        if failing and not self._failing:
            _log.warning("traces cannot be sent to %s and are dropped; this is said once", self._endpoint)
        elif self._failing and not failing:
            _log.info("traces are sent to %s again", self._endpoint)
        self._failing = failing
        self._again_at_s = self._clock() + FORGO_S if failing else -math.inf
        return result

    def shutdown(self) -> None:
        """See `SpanExporter`."""
        self._sender.shutdown()


def is_sampled(traceparent: bytes) -> bool | None:
    """Whether the caller samples its trace; None where this is no traceparent (W3C Trace Context).

    >>> is_sampled(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    True
    >>> is_sampled(b"00-00000000000000000000000000000000-b7ad6b7169203331-01") is None
    True
    """
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == b"ff" or (version == b"00" and more) or not int(trace, 16) or not int(span, 16):
        return None
    return bool(int(flags, 16) & 1)


def spans_of(followed: Followed, tracer: Tracer) -> None:
    """A span of the whole score and one of each stage. Neither has an id, an entity or a value of the record."""
    decision = followed.decision
    context = None
    if followed.traceparent is not None:
        context = TraceContextTextMapPropagator().extract({"traceparent": followed.traceparent.decode()})
    began_ns = followed.ended_ns - followed.took_ns
    whole = tracer.start_span(
        f"score {decision.use_case}",
        context=context,
        kind=SpanKind.SERVER,
        start_time=began_ns,
        attributes={
            "headrace.use_case": decision.use_case,
            "headrace.outcome": decision.outcome,
            "headrace.found_again": not followed.is_new,
            "headrace.degraded": tuple(decision.degraded),
            "headrace.rules": tuple(decision.rules),
            "headrace.rules_version": decision.rules_version,
            "headrace.policy_version": decision.policy_version,
            **{f"headrace.model.{member}": said.version for member, said in decision.scores.items()},
        },
    )
    within = set_span_in_context(whole)
    at_ns = began_ns
    if followed.is_new:
        for stage, stage_us in decision.latency_us.items():
            until_ns = min(at_ns + stage_us * 1000, followed.ended_ns)
            tracer.start_span(stage, context=within, start_time=at_ns).end(until_ns)
            at_ns = until_ns
        tracer.start_span("record", context=within, start_time=at_ns).end(followed.ended_ns)
    whole.end(followed.ended_ns)
