// An application with the unmodified OpenTelemetry SDK: sends orders as traces, log records and a metric.
// Run by tests/sdks.rs. Its only settings are the SDK's own environment variables.
// Arguments: a text that makes this run's orders unique, and the number of orders.
"use strict";

const { createRequire } = require("node:module");
// The packages are installed outside the tree, so that a checkout stays clean.
const installed = createRequire(`${process.env.SDK_FOLDER}/`);
const { SpanKind, SpanStatusCode, metrics, trace, context, diag, DiagConsoleLogger, DiagLogLevel } =
  installed("@opentelemetry/api");
const { logs, SeverityNumber } = installed("@opentelemetry/api-logs");
const { NodeSDK } = installed("@opentelemetry/sdk-node");

const [run, orders] = [process.argv[2], Number(process.argv[3])];

let failed = false;
const console_ = new DiagConsoleLogger();
const listen = (words) => {
  failed = true;
  console_.error(words);
};
const quiet = () => {};
const listener = { error: listen, warn: quiet, info: quiet, debug: quiet, verbose: quiet };

const sdk = new NodeSDK();
sdk.start();
diag.setLogger(listener, { logLevel: DiagLogLevel.ERROR, suppressOverrideMessage: true });

const tracer = trace.getTracer("orders", "1.2.3");
const logger = logs.getLogger("orders");
const placed = metrics.getMeter("orders").createCounter("orders.placed", { unit: "{order}" });

let previous;
for (let number = 0; number < orders; number += 1) {
  const order = `${run}-${number}`;
  const links = previous ? [{ context: previous }] : [];
  tracer.startActiveSpan("POST /orders", { kind: SpanKind.SERVER, links }, (server) => {
    previous = server.spanContext();
    server.setAttributes({
      "order.id": order,
      "order.lines": number,
      "order.total": number + 0.5,
      "order.is_gift": number % 2 === 0,
      "order.tags": ["für", "dich"],
    });
    const client = tracer.startSpan("POST", { kind: SpanKind.CLIENT });
    client.setAttribute("server.address", "bank.example");
    client.addEvent("retry", { attempt: 2 });
    if (number === 0) client.setStatus({ code: SpanStatusCode.ERROR, message: "declined" });
    client.end();
    logger.emit({
      severityNumber: SeverityNumber.WARN,
      severityText: "WARN",
      body: `order ${order} placed`,
      attributes: { "order.id": order },
      context: context.active(),
    });
    server.end();
  });
  placed.add(1, { run });
}

sdk.shutdown().then(() => process.exit(failed ? 1 : 0));
