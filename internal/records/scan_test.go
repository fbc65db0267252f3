package records

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"exportd/internal/connection"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/panics"
	"exportd/internal/vip"
	"exportd/jobs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, localcloudtest.LeakOptions()...) }

// scanIDs scans everything and returns the ids in the order they came.
func scanIDs(ctx context.Context, r *Reader, q vip.Query, rng vip.Range, opts Options) (ids []string, err error) {
	keys := q.Keys()
	err = r.Scan(ctx, q, rng, time.Time{}, opts, func(doc []byte) error {
		_, id, err := keys.Of(doc)
		ids = append(ids, string(id))
		return err
	})
	return ids, err
}

func replayIDs(from, to int) (ids []string) {
	for i := from; i < to; i++ {
		ids = append(ids, replayID(i))
	}
	return ids
}

func TestScanPages(t *testing.T) {
	t.Parallel()
	const rows = 1000
	for _, test := range []struct {
		pageSize, requests int
	}{{1, 1001}, {7, 143}, {999, 2}, {1000, 2}, {1001, 1}, {0, 1}} {
		t.Run(fmt.Sprint(test.pageSize), func(t *testing.T) {
			t.Parallel()
			s := startReplay(t, rows)
			ids, err := scanIDs(t.Context(), s.reader(t), replayQuery(), vip.Range{}, Options{PageSize: test.pageSize})
			if err != nil || !slices.Equal(ids, replayIDs(0, rows)) {
				t.Errorf("Scan() = %d rows, %v; want all %d in order", len(ids), err, rows)
			}
			if got := s.requests.Load(); got != int64(test.requests) {
				t.Errorf("requests = %d, want %d", got, test.requests)
			}
		})
	}
}

// TestScanGoesOn breaks streams in every way there is, at random rows.
func TestScanGoesOn(t *testing.T) {
	t.Parallel()
	const rows = 3000
	breaks := map[string]func(ctx context.Context) error{
		"unavailable": func(context.Context) error {
			return status.Error(codes.Unavailable, "the datastore operation timed out")
		},
		"internal":  func(context.Context) error { return status.Error(codes.Internal, "stream terminated by RST_STREAM") },
		"exhausted": func(context.Context) error { return status.Error(codes.ResourceExhausted, "quota") },
		"aborted":   func(context.Context) error { return status.Error(codes.Aborted, "try again") },
		"stall":     func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	}
	for name, fail := range breaks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startReplay(t, rows)
			most := 40
			if name == "stall" { // each costs its time
				most = 12
			}
			var mu sync.Mutex
			random, broken := rand.New(rand.NewPCG(1, 2)), 0
			s.each = func(ctx context.Context, place int) error {
				mu.Lock()
				hit := random.IntN(100) == 0 && broken < most
				if hit {
					broken++
				}
				mu.Unlock()
				if hit {
					return fail(ctx)
				}
				return nil
			}
			r := s.reader(t, func(c *Config) {
				if name == "stall" { // long beside what a busy machine may keep a stream waiting
					c.stall = 300 * time.Millisecond
				}
			})
			ids, err := scanIDs(t.Context(), r, replayQuery(), vip.Range{}, Options{PageSize: 700})
			if err != nil || !slices.Equal(ids, replayIDs(0, rows)) {
				t.Errorf("Scan() = %d rows, %v; want all %d in order", len(ids), err, rows)
			}
			if broken < 10 {
				t.Errorf("streams broken = %d, want more", broken)
			}
		})
	}
}

func TestScanGivesUp(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err      error
		want     error
		code     jobs.Code
		class    jobs.Class
		requests int64
	}{
		"unavailable": {status.Error(codes.Unavailable, "no"), jobs.ErrUnavailable, jobs.CodeUnavailable, jobs.Transient, 2 * maxAttempts},
		"denied":      {status.Error(codes.PermissionDenied, "no"), ErrPermission, jobs.CodeSourceDenied, jobs.Permanent, 2},
		"too old": {status.Error(codes.FailedPrecondition, "The requested snapshot version is too old."),
			ErrSnapshotTooOld, jobs.CodeSnapshotTooOld, jobs.Stale, 2},
		"index": {status.Error(codes.FailedPrecondition, "The query requires an index. You can create it here: https://console/x"),
			ErrMissingIndex, jobs.CodeMissingIndex, jobs.Permanent, 2},
		"index building": {status.Error(codes.FailedPrecondition, "The query requires an index. That index is currently building"),
			ErrMissingIndex, jobs.CodeMissingIndex, jobs.Transient, 2},
		"refused": {status.Error(codes.InvalidArgument, "bad cursor"), nil, jobs.CodeInternal, jobs.Permanent, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startReplay(t, 300)
			s.each = func(_ context.Context, place int) error {
				if place == 150 {
					return test.err
				}
				return nil
			}
			s.before = func(_ context.Context, _ *firestorepb.RunQueryRequest, place int) error {
				if place == 150 && test.code != jobs.CodeUnavailable {
					return test.err
				}
				return nil
			}
			ids, err := scanIDs(t.Context(), s.reader(t), replayQuery(), vip.Range{}, Options{PageSize: 100})
			if len(ids) != 150 || err == nil {
				t.Fatalf("Scan() = %d rows, %v; want 150 and an error", len(ids), err)
			}
			failure, ok := errors.AsType[*jobs.Failure](err)
			if !ok || failure.Code != test.code || failure.Class != test.class || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("Scan() = %#v, want code %s class %v around %v", err, test.code, test.class, test.want)
			}
			if name == "index" && !strings.Contains(failure.Remedy, "https://console/x") {
				t.Errorf("Remedy = %q, want the link", failure.Remedy)
			}
		})
	}
}

// TestScanRefusesDisorder: a server that sends a row twice, or rows out of order, must not end in a file.
func TestScanRefusesDisorder(t *testing.T) {
	t.Parallel()
	for name, swap := range map[string]func(frames []mem.Buffer){
		"twice":   func(f []mem.Buffer) { f[40] = f[39] },
		"tie":     func(f []mem.Buffer) { f[41], f[42] = f[42], f[41] },
		"key":     func(f []mem.Buffer) { f[39], f[40] = f[40], f[39] },
		"garbage": func(f []mem.Buffer) { f[40] = mem.SliceBuffer{0x0a, 0x05, 1, 2} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startReplay(t, 100)
			swap(s.frames)
			ids, err := scanIDs(t.Context(), s.reader(t), replayQuery(), vip.Range{}, Options{})
			if err == nil || len(ids) > 42 {
				t.Errorf("Scan() = %d rows, %v; want an error", len(ids), err)
			}
			if name != "garbage" && !errors.Is(err, ErrOrder) {
				t.Errorf("Scan() = %v, want %v", err, ErrOrder)
			}
		})
	}
}

// TestScanEnds: an error of the consumer, or an ended context, ends the scan at once; goleak sees that
// nothing is left.
func TestScanEnds(t *testing.T) {
	t.Parallel()
	s := startReplay(t, 5000)
	r := s.reader(t)
	stop := errors.New("disk full")
	rows := 0
	err := r.Scan(t.Context(), replayQuery(), vip.Range{}, time.Time{}, Options{PageSize: 100}, func([]byte) error {
		if rows++; rows == 1234 {
			return stop
		}
		return nil
	})
	if err != stop || rows != 1234 {
		t.Errorf("Scan() = %v after %d rows, want %v after 1234", err, rows, stop)
	}
	cause := errors.New("job canceled")
	ctx, cancel := context.WithCancelCause(t.Context())
	err = r.Scan(ctx, replayQuery(), vip.Range{}, time.Time{}, Options{}, func([]byte) error { cancel(cause); return nil })
	if !errors.Is(err, cause) {
		t.Errorf("Scan() = %v, want %v", err, cause)
	}
}

// TestScanBounds: while the consumer is busy, the scan runs ahead by a few batches and no further.
func TestScanBounds(t *testing.T) {
	t.Parallel()
	const pageSize = 1000
	s := startReplay(t, 30_000)
	var sent atomic.Int64
	idle := make(chan struct{})
	quiet := time.AfterFunc(time.Hour, sync.OnceFunc(func() { close(idle) }))
	s.each = func(_ context.Context, place int) error {
		sent.Store(int64(place))
		quiet.Reset(200 * time.Millisecond)
		return nil
	}
	rows := 0
	err := s.reader(t).Scan(t.Context(), replayQuery(), vip.Range{}, time.Time{}, Options{PageSize: pageSize}, func([]byte) error {
		if rows++; rows == 1 {
			<-idle // the server has had nothing to do for a while
			// The rows of the batches, and of one page on its way.
			if got, limit := sent.Load(), int64((queuedBatches+2)*batchRows+pageSize); got > limit {
				t.Errorf("rows sent ahead = %d, want at most %d", got, limit)
			}
		}
		return nil
	})
	if err != nil || rows != 30_000 {
		t.Errorf("Scan() = %d rows, %v; want 30000", rows, err)
	}
}

// TestHeaders: a scan carries the headers that the official client sends.
func TestHeaders(t *testing.T) {
	t.Parallel()
	s := startReplay(t, 3)
	var mu sync.Mutex
	var seen []metadata.MD
	s.before = func(ctx context.Context, _ *firestorepb.RunQueryRequest, _ int) error {
		md, _ := metadata.FromIncomingContext(ctx)
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, md)
		return nil
	}
	if _, err := scanIDs(t.Context(), s.reader(t), replayQuery(), vip.Range{}, Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.client(t).Collection("VipMessages").Documents(t.Context()).GetAll(); err != nil {
		t.Fatal(err)
	}
	ours, official := seen[0], seen[1]
	for _, header := range []string{"google-cloud-resource-prefix", "x-goog-request-params"} {
		got, want := slices.Sorted(slices.Values(ours[header])), slices.Sorted(slices.Values(official[header]))
		if !slices.Equal(got, want) {
			t.Errorf("header %s = %q, want %q", header, got, want)
		}
	}
	if len(ours["x-goog-api-client"]) != 1 || ours["authorization"][0] != "Bearer owner" {
		t.Errorf("headers = %v, want x-goog-api-client and the emulator's authorization", ours)
	}
}

// TestScanAllocs: scanning and encoding allocates nothing per row beyond what the transport does for
// receiving and dropping.
func TestScanAllocs(t *testing.T) {
	s := startReplay(t, 20_000)
	r := s.reader(t)
	scan := testing.AllocsPerRun(3, func() {
		if ids, err := 0, r.Scan(t.Context(), replayQuery(), vip.Range{}, time.Time{}, Options{}, func([]byte) error { return nil }); err != nil || ids != 0 {
			t.Error(err)
		}
	})
	drop := testing.AllocsPerRun(3, func() { dropAll(t, r, replayQuery()) })
	// What allocates for a row adds 1. How many frames and batches the rows come in is up to the machine:
	// they have been 0.06 on a busy one.
	if perRow := (scan - drop) / 20_000; perRow > 0.5 {
		t.Errorf("allocations per row = %.3f beyond the transport's, want 0", perRow)
	}
}

// TestPanicInAScan: a panic as rows are fetched, which goes on beside whoever gets them, is the scan's error.
func TestPanicInAScan(t *testing.T) {
	t.Parallel()
	s := startReplay(t, 3000)
	r := s.reader(t, func(c *Config) {
		c.Guard = &connection.Guard{Called: func(context.Context, connection.Call) { panic("stepped on a mine") }}
	})
	_, err := scanIDs(t.Context(), r, replayQuery(), vip.Range{}, Options{PageSize: 500})
	if _, ok := panics.Of(err); !ok || jobs.AsFailure(err).Code != jobs.CodeInternal {
		t.Errorf("Scan() = %v", err)
	}
}
