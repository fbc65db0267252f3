// Package tracing tells a collector what happened to an export, step by step, as an OpenTelemetry trace: from
// the caller's request through the job's document to the workers, and to the receiver of the callback.
//
// A process has a Tracer where the standard OTEL_ variables name a collector, else a nil one, which does
// nothing; so does everything here in a context without a span. The way is:
//
//   - Request begins the span of a request, once its signature is proved: strangers begin none, and their
//     traceparent is not read.
//   - Traceparent of a context goes into a job's document, into attributes of messages, into callbacks.
//   - Resume goes on in another process with what a document says.
//   - Start and Past make the steps below.
//
// It is the only importer of OpenTelemetry and sets no global tracer, and a span is in its context under a
// key of its own: the libraries of Google, which are instrumented, see neither and make no spans, whose names
// and attributes hold paths of documents and objects. Attributes are those of attr.go and no others: ids,
// numbers and names from closed sets, no text that a caller chose, no URL, no error's text.
package tracing
