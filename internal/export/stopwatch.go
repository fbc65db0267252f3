package export

import (
	"context"
	"time"

	"exportd/internal/tracing"
)

// stopwatch knows where the time of a write goes. It is read at each flush and each turn of standing back,
// never for a row. Rows are fetched and chunks are sent while others are encoded: what counts for scan and
// upload is how long the encoder waited for them.
type stopwatch struct {
	progress                *Progress
	began, scanned, sending time.Time
	waited, stood           time.Duration
}

// send times a step of the upload.
func (w *stopwatch) send(step func() error) error {
	begun := time.Now() // once in 256 KiB
	if w.sending.IsZero() {
		w.sending = begun
	}
	w.progress.begin(true)
	err := step()
	w.progress.Uploading.Add(int64(time.Since(begun)))
	w.progress.begin(false)
	return err
}

// standBack times fn, which lets others go first.
func (w *stopwatch) standBack(ctx context.Context, fn func(context.Context)) {
	begun := time.Now()
	fn(ctx)
	w.stood += time.Since(begun)
}

// scan times the scan, with encoding and uploads within it, and notes its steps in the trace of ctx. fn says
// how long it waited for its source.
func (w *stopwatch) scan(ctx context.Context, fn func(waited *time.Duration) error) error {
	w.began = time.Now()
	w.progress.begin(false)
	err := fn(&w.waited)
	w.note()
	w.scanned = time.Now()
	if tracing.From(ctx) == nil {
		return err
	}
	for name, busy := range map[string]time.Duration{"scan": w.waited, "encode": time.Duration(w.progress.Encoding.Load())} {
		tracing.Past(ctx, tracing.Step{Name: name, At: w.began, Attrs: []tracing.Attr{tracing.Busy(busy)}}, w.scanned)
	}
	return err
}

// note tells how long the steps of the scan have taken so far.
func (w *stopwatch) note() {
	if !w.scanned.IsZero() {
		return // the last flush comes behind the scan
	}
	encoding := time.Since(w.began) - w.waited - w.stood - time.Duration(w.progress.Uploading.Load())
	w.progress.Scanning.Store(int64(w.waited))
	w.progress.Yielding.Store(int64(w.stood))
	w.progress.Encoding.Store(int64(max(0, encoding)))
	w.progress.begin(false)
}

// uploaded notes the upload, which has ended, and with it the write.
func (w *stopwatch) uploaded(ctx context.Context) {
	w.progress.since.Store(0)
	if w.sending.IsZero() || tracing.From(ctx) == nil {
		return
	}
	tracing.Past(ctx, tracing.Step{Name: "upload", At: w.sending, Attrs: []tracing.Attr{
		tracing.Busy(time.Duration(w.progress.Uploading.Load())), tracing.Bytes(w.progress.Bytes.Load()),
	}}, time.Now())
}
