"""OpenTelemetry: one trace for each run, one span for each call of a stage, by OTLP over HTTP.

The endpoint and all else is set by OpenTelemetry's own variables of the environment: OTEL_EXPORTER_OTLP_ENDPOINT,
OTEL_EXPORTER_OTLP_HEADERS, OTEL_SERVICE_NAME (by default `tastegraph`), OTEL_RESOURCE_ATTRIBUTES.
"""

import logging
import os
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span, Status, StatusCode, set_span_in_context

from flows.telemetry.watching import RunBegan, RunEnded, StageBegan, StageEnded


def observe(run: RunBegan) -> "Trace":
    """The trace of a run."""
    return Trace(run)


class Trace:
    """Spans that a thread of the library sends now and then, and the rest at the end."""

    def __init__(self, run: RunBegan) -> None:
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # else a line for each failed try, with traceback
        service = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "tastegraph"}
        # Of this run alone: the process's own provider may be Prefect's.
        self._provider = TracerProvider(resource=Resource.create(service), shutdown_on_exit=False)
        self._sent = _Counted(OTLPSpanExporter())
        self._provider.add_span_processor(BatchSpanProcessor(self._sent))
        self._tracer = self._provider.get_tracer("tastegraph")
        self._run = self._tracer.start_span(run.flow, start_time=_ns(run.at))
        self._context = set_span_in_context(self._run)
        self._run.set_attributes(
            {
                "tastegraph.run_id": run.run_id,
                "tastegraph.fingerprint": run.fingerprint,
                "tastegraph.source": run.source,
                "tastegraph.root": run.root,
            }
        )

    def stage_began(self, stage: StageBegan) -> None:
        """Nothing: a span is sent when it has ended."""

    def stage_ended(self, stage: StageEnded) -> None:
        """A span of its own, with what it took."""
        span = self._tracer.start_span(stage.began.stage, self._context, start_time=_ns(stage.began.at))
        span.set_attributes(
            {
                "tastegraph.ran": stage.ran,
                "tastegraph.reused": stage.reused,
                "tastegraph.rows": stage.rows,
                "tastegraph.bytes": stage.bytes,
                "tastegraph.seconds": stage.at - stage.began.at,
                "tastegraph.cpu_s": stage.cpu_s,
                "tastegraph.peak_bytes": stage.peak_bytes,
            }
        )
        _end(span, stage.at, stage.error)

    def run_ended(self, run: RunEnded) -> None:
        """The span of the run; then all that is left is sent. Raises ConnectionError where a part could not be."""
        if run.manifest:
            self._run.set_attribute("tastegraph.published", run.manifest.run_id)
            self._run.set_attribute("tastegraph.is_current", run.manifest.is_current)
        _end(self._run, run.at, run.error)
        self._provider.shutdown()
        if self._sent.failed:
            raise ConnectionError(f"{self._sent.failed} spans could not be sent")


class _Counted(SpanExporter):
    """Another exporter, with a count of the spans that it could not send."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner, self.failed = inner, 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._inner.export(spans)
        self.failed += len(spans) * (result is not SpanExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()


def _end(span: Span, at: float, error: str | None) -> None:
    if error:
        kind, _, message = error.partition(": ")
        attributes = {"exception.type": kind, "exception.message": message}
        span.add_event("exception", attributes, timestamp=_ns(at))
    span.set_status(Status(StatusCode.ERROR, error) if error else Status(StatusCode.OK))
    span.end(end_time=_ns(at))


def _ns(at: float) -> int:
    return int(at * 1e9)
