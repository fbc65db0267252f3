package storageserver

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"testing"
	"time"
)

// TestPace: a burst to one name passes, then one change a second; other names, and time, are not in the way.
// Buckets have a limit of their own.
func TestPace(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	p := newPace()
	p.now = func() time.Time { return now }
	refused := func(err error) bool {
		e, ok := errors.AsType[*apiError](err)
		return ok && e.Status == http.StatusTooManyRequests && e.Reason == "rateLimitExceeded"
	}
	for i := range objectBurst {
		if err := p.object("b", "o"); err != nil {
			t.Fatalf("change %d of a burst: %v", i, err)
		}
	}
	if err := p.object("b", "o"); !refused(err) {
		t.Errorf("after the burst: %v, want 429", err)
	}
	if err := p.object("b", "other"); err != nil {
		t.Errorf("another name: %v", err)
	}
	now = now.Add(time.Second)
	if err := p.object("b", "o"); err != nil {
		t.Errorf("a second later: %v", err)
	}
	if err := p.object("b", "o"); !refused(err) {
		t.Errorf("twice in that second: %v, want 429", err)
	}
	for i := range 3 * maxPaced {
		if err := p.object("b", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.names) > maxPaced {
		t.Errorf("%d names are remembered, more than %d", len(p.names), maxPaced)
	}
	for range bucketBurst {
		if err := p.bucket(); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.bucket(); !refused(err) {
		t.Errorf("bucket %d: %v, want 429", bucketBurst+1, err)
	}
	if (*pace)(nil).object("b", "o") != nil || (*pace)(nil).bucket() != nil {
		t.Error("a lax server refuses")
	}
}

func TestChunksAligned(t *testing.T) {
	t.Parallel()
	for c, ok := range map[chunkRange]bool{
		{start: 0, length: 256 << 10, total: -1}:              true,
		{start: 0, length: 100, total: 100}:                   true, // the last one
		{start: 0, length: 100, total: -1}:                    false,
		{start: 0, length: 100, total: 1000}:                  false,
		{start: 1000, length: 256<<10 - 1000, total: 1 << 20}: true, // the rest of a chunk that came in part
		{start: 256 << 10, length: 1, total: 1 << 20}:         false,
		{start: 0, length: -1, total: -1}:                     true, // a question
		{length: math.MaxInt64, total: -1, open: true}:        true, // all that are left
	} {
		if err := c.aligned(); (err == nil) != ok {
			t.Errorf("chunk %+v: %v, want taken %v", c, err, ok)
		}
	}
}
