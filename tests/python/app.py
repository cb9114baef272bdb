"""An application with the unmodified OpenTelemetry SDK: sends orders as traces, log records and a metric.

Run by tests/sdks.rs. Its only settings are the SDK's own environment variables.
Arguments: a text that makes this run's orders unique, and the number of orders.
"""

import logging
import os
import sys

from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

if os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
else:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

run, orders = sys.argv[1], int(sys.argv[2])

traces = TracerProvider()
traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
tracer = traces.get_tracer("orders", "1.2.3")

logs = LoggerProvider()
logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
log = logging.getLogger("orders")
log.setLevel(logging.INFO)
log.addHandler(LoggingHandler(logger_provider=logs))

metrics = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())])
placed = metrics.get_meter("orders").create_counter("orders.placed", unit="{order}")

previous = None
for number in range(orders):
    order = f"{run}-{number}"
    links = [Link(previous)] if previous else []
    with tracer.start_as_current_span("POST /orders", kind=SpanKind.SERVER, links=links) as server:
        previous = server.get_span_context()
        server.set_attributes({
            "order.id": order,
            "order.lines": number,
            "order.total": number + 0.5,
            "order.is_gift": number % 2 == 0,
            "order.tags": ["für", "dich"],
        })
        with tracer.start_as_current_span("POST", kind=SpanKind.CLIENT) as client:
            client.set_attribute("server.address", "bank.example")
            client.add_event("retry", {"attempt": 2})
            if number == 0:
                client.set_status(Status(StatusCode.ERROR, "declined"))
        log.warning("order %s placed", order, extra={"order.id": order})
    placed.add(1, {"run": run})

for provider in (traces, logs, metrics):
    if provider.force_flush() is False:
        sys.exit("the SDK could not deliver everything")
    provider.shutdown()
