package records

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"exportd/internal/panics"
	"exportd/internal/vip"
)

const (
	// overviewStreams are the streams of one overview. Production gives some 8,000 rows a second on each:
	// 2,000,000 messages take 21 s of the 35 s that a request has.
	overviewStreams = 12
	// OverviewRows bounds an overview, which is billed a read for each message: 26 s of streams. More are
	// refused for the price of a count.
	OverviewRows = 2_500_000
	// OverviewLabels and OverviewLabelBytes bound what an overview holds, and answers with: about 15 MiB
	// until it has ended, of which four are under way at once. A message may carry thousands of labels, of up
	// to 1,500 bytes each.
	OverviewLabels     = 100_000
	OverviewLabelBytes = 4 << 20
	// LabelRunes bounds a label, in characters: a longer one cannot be asked for and is left out, so that
	// every count is one that its label leads to.
	LabelRunes = 1500
	// streamLabelBytes is what a stream holds before it adds to the sum: streams wait for each other once in
	// some thousand rows.
	streamLabelBytes = 64 << 10
	// pieceRows is about a page: small enough that streams end together.
	pieceRows = DefaultPageSize
	// overviewFan is how many pieces a stretch of time is cut into at a time, overviewCounts how many are
	// counted side by side, and overviewPasses how often: 16^13 > 2^51 µs, more than 31 days have.
	overviewFan    = 16
	overviewCounts = 8
	overviewPasses = 13
)

// ErrTooManyRows says that there are more messages than an overview reads.
var ErrTooManyRows = errors.New("more messages than an overview reads")

// ErrTooManyLabels says that messages have more labels than an overview holds.
var ErrTooManyLabels = errors.New("more labels than an overview holds")

// LabelCount is how many messages carry a label.
type LabelCount struct {
	Label string `json:"label"`
	Count int64  `json:"count"`
}

// LabelCounts counts the messages of q by label, the most frequent first, ties by label; total is the number
// of messages, labelled or not. A message counts once for each label that a query by that label finds it by.
// All is seen at one instant. It costs one read for each message, of its labels and time alone, and one for
// each 1,000 and pass of counting, which cuts the window into pieces that are read side by side. With
// ErrTooManyRows and ErrTooManyLabels it says the total alone.
//
// Counting by label instead would need to know the labels: there is no list of them, and a message may carry
// any text.
func (r *Reader) LabelCounts(ctx context.Context, q vip.Query) (counts []LabelCount, total int64, err error) {
	if q.Sandbox {
		return r.sandboxLabels(ctx, q)
	}
	rows, at, err := r.Count(ctx, q, vip.Range{}, time.Time{})
	switch {
	case err != nil:
		return nil, 0, err
	case rows > OverviewRows:
		return nil, rows, ErrTooManyRows
	}
	pieces, err := r.cut(ctx, stretch{q.From, q.To, rows}, q, at)
	if err != nil {
		return nil, 0, err
	}
	sum := labelSum{byLabel: make(map[string]int64)}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(overviewStreams)
	for _, p := range pieces {
		g.Go(panics.Task(func() error { return r.countLabels(ctx, p.of(q), at, &sum) }))
	}
	if err := g.Wait(); err != nil {
		if errors.Is(err, ErrTooManyLabels) {
			return nil, rows, ErrTooManyLabels
		}
		return nil, 0, err
	}
	return sum.counts(), sum.total, nil
}

// stretch is a part of a query's window with its rows.
type stretch struct {
	from, to time.Time
	rows     int64
}

func (s stretch) of(q vip.Query) vip.Query {
	q.From, q.To = s.from, s.to
	return q
}

// cut gives the parts of a window that have rows, of about pieceRows each where time parts them.
func (r *Reader) cut(ctx context.Context, whole stretch, q vip.Query, at time.Time) (done []stretch, err error) {
	open := []stretch{whole}
	for pass := 0; len(open) > 0 && pass < overviewPasses; pass++ {
		var next []stretch
		for _, s := range open {
			if s.rows <= pieceRows || s.to.Sub(s.from) < 2*time.Microsecond {
				done = append(done, s)
				continue
			}
			next = append(next, s.fan()...)
		}
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(overviewCounts)
		for i := range next {
			g.Go(panics.Task(func() (err error) {
				next[i].rows, _, err = r.Count(gctx, next[i].of(q), vip.Range{}, at)
				return err
			}))
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		open = slices.DeleteFunc(next, func(s stretch) bool { return s.rows == 0 })
	}
	return append(done, open...), nil
}

// fan cuts s at whole microseconds, which is what times are stored in.
func (s stretch) fan() []stretch {
	wide := s.to.Sub(s.from).Microseconds()
	n := min(2*(s.rows/pieceRows+1), overviewFan, wide)
	out := make([]stretch, n)
	from := s.from
	for i := range n {
		to := s.from.Add(time.Duration(wide/n*(i+1)) * time.Microsecond)
		if i == n-1 {
			to = s.to
		}
		out[i] = stretch{from: from, to: to}
		from = to
	}
	return out
}

// labelSum adds up what the streams have counted.
type labelSum struct {
	mu      sync.Mutex
	byLabel map[string]int64
	bytes   int // of the labels' texts
	total   int64
}

// add moves what a stream has counted into the sum. ErrTooManyLabels ends the overview.
func (sum *labelSum) add(byLabel map[string]int64, total int64) error {
	sum.mu.Lock()
	defer sum.mu.Unlock()
	sum.total += total
	for label, n := range byLabel {
		had := sum.byLabel[label]
		if had == 0 {
			sum.bytes += len(label)
			if len(sum.byLabel) == OverviewLabels || sum.bytes > OverviewLabelBytes {
				return ErrTooManyLabels
			}
		}
		sum.byLabel[label] = had + n
	}
	clear(byLabel)
	return nil
}

func (r *Reader) countLabels(ctx context.Context, q vip.Query, at time.Time, sum *labelSum) error {
	byLabel := make(map[string]int64)
	var total int64
	var bytes int // of the texts in byLabel
	var labels []string
	err := r.Scan(ctx, q, vip.Range{}, at, Options{fields: []string{q.SortField, "labels"}}, func(doc []byte) error {
		total++
		var err error
		labels, err = vip.AppendLabels(labels[:0], doc)
		for _, label := range labels {
			if len(label) > LabelRunes && utf8.RuneCountInString(label) > LabelRunes {
				continue
			}
			n := byLabel[label]
			if byLabel[label] = n + 1; n == 0 {
				bytes += len(label)
			}
		}
		if err == nil && bytes > streamLabelBytes {
			err = sum.add(byLabel, total)
			total, bytes = 0, 0
		}
		return err
	})
	if err != nil {
		return err
	}
	return sum.add(byLabel, total)
}

func (sum *labelSum) counts() []LabelCount {
	counts := make([]LabelCount, 0, len(sum.byLabel))
	for label, n := range sum.byLabel {
		counts = append(counts, LabelCount{label, n})
	}
	slices.SortFunc(counts, func(a, b LabelCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Label, b.Label))
	})
	return counts
}
