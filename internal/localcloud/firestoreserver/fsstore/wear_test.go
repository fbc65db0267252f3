package fsstore

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"strings"
	"testing"
	"time"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// TestWear: 1/s of a document and 500/s at one end of an index are free; more is a warning a minute and a
// line of the report. Values here and there in an index are no wear.
func TestWear(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	now := time.Unix(1_800_000_000, 0)
	w := newWear(func() time.Time { return now }, slog.New(slog.NewTextHandler(&log, nil)))
	s := &Store{wear: w}
	doc, err := fsvalue.ParseDocument("projects/p/databases/(default)/documents/c/d")
	if err != nil {
		t.Fatal(err)
	}
	rising, random := &physical{id: 1, label: "rising"}, &physical{id: 2, label: "random"}
	n := uint64(0)
	entries := func(count int) (out []entry) {
		for range count {
			n++
			out = append(out, entry{key: binary.BigEndian.AppendUint64(nil, n), index: rising},
				entry{key: binary.BigEndian.AppendUint64(nil, n*0x9E3779B97F4A7C15), index: random})
		}
		return out
	}
	for range 10 { // ten seconds at the limits
		now = now.Add(time.Second)
		w.wrote(1, doc, entries(rangeRate))
	}
	if got := s.Wear(); len(got.Documents)+len(got.Indexes) > 0 || log.Len() > 0 {
		t.Fatalf("at the limits: %+v, log %q", got, log.String())
	}
	for range 60 { // a minute of twice as much
		now = now.Add(time.Second)
		w.wrote(1, doc, entries(2*rangeRate))
		w.wrote(1, doc, nil)
	}
	got := s.Wear()
	if len(got.Documents) != 1 || got.Documents[0].Name != doc.String() || got.Documents[0].PerSecond < 1.5 || got.Documents[0].Windows < 5 {
		t.Errorf("documents = %+v, want the one at 2/s", got.Documents)
	}
	if len(got.Indexes) != 1 || got.Indexes[0].Name != "rising" || got.Indexes[0].PerSecond < 900 {
		t.Errorf("indexes = %+v, want the rising one at 1000/s", got.Indexes)
	}
	if lines := strings.Count(log.String(), "\n"); lines < 2 || lines > 4 {
		t.Errorf("%d warnings in a minute for two names:\n%s", lines, log.String())
	}
}

func TestNoWear(t *testing.T) {
	t.Parallel()
	var w *wear
	w.wrote(1, fsvalue.Path{}, nil)
	if got := (&Store{}).Wear(); got.Documents == nil || got.Indexes == nil {
		t.Errorf("Wear() = %+v, want empty lists", got)
	}
}
