package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"exportd/internal/apikey"
	"exportd/internal/dataset"
	"exportd/internal/panics"
	"exportd/internal/records"
	"exportd/internal/vip"
	"exportd/jobs"
)

const (
	// countSeen is how old a total may be: pages of one list cost one count, not one each.
	countSeen = 5 * time.Second
	// positionSeen is how long the end of a page is remembered as the begin of the next.
	positionSeen = 5 * time.Minute
	// overviewSeen is how old an overview may be, which costs a read for each message.
	overviewSeen = time.Minute
	// overviewWithin is within what a request has, with time left to answer.
	overviewWithin = 33 * time.Second
	// overviewsAtOnce are the overviews under way in a process, of 12 streams each; keys and orgs have a
	// share of them.
	overviewsAtOnce = 4
	// farRows may be skipped by any page, five full ones; farPagesAtOnce are the pages under way in a process
	// that skip more, each a stream that is billed for all of them. Keys and orgs have a share.
	farRows        = 1000
	farPagesAtOnce = 8
	// maxCounts bounds the totals that are remembered, to some megabytes.
	maxCounts = 10_000
	// positionBytes and overviewBytes bound what is remembered of texts that are an org's: an id has up to
	// 1,500 bytes, a label any number, and one key can ask for many windows within overviewSeen. They are
	// 50,000 places of plain ids. An overview of more labels is not remembered.
	positionBytes, overviewBytes = 16 << 20, 16 << 20
	maxLabels                    = 2000
	// memoEntry is about what an entry takes beside its key and answer, and textEntry what a label or a part
	// of a place takes beside its text.
	memoEntry, textEntry = 200, 24
)

// memo remembers answers for a while, by org and query, and has equal questions asked once. What is forgotten
// is asked again: nothing but cost depends on it.
type memo[V any] struct {
	answers *otter.Cache[string, dated[V]]
	flights singleflight.Group
	life    time.Duration
}

type dated[V any] struct {
	value V
	at    time.Time
}

func newMemo[V any](size int, life time.Duration) (*memo[V], error) {
	answers, err := otter.New(&otter.Options[string, dated[V]]{MaximumSize: size})
	return &memo[V]{answers: answers, life: life}, err
}

// newHeavyMemo bounds what is remembered by the bytes of answers, as weigh gives them.
func newHeavyMemo[V any](bytes uint64, life time.Duration, weigh func(V) int) (*memo[V], error) {
	answers, err := otter.New(&otter.Options[string, dated[V]]{
		MaximumWeight: bytes,
		Weigher:       func(key string, d dated[V]) uint32 { return uint32(memoEntry + len(key) + weigh(d.value)) },
	})
	return &memo[V]{answers: answers, life: life}, err
}

func (m *memo[V]) get(key string, now time.Time) (v V, ok bool) {
	d, ok := m.answers.GetIfPresent(key)
	if !ok || now.Sub(d.at) >= m.life {
		return v, false
	}
	return d.value, true
}

func (m *memo[V]) set(key string, v V, now time.Time) { m.answers.Set(key, dated[V]{v, now}) }

// listKey names a query of an org.
func listKey(orgID string, d *dataset.Dataset, rows jobs.Params) string {
	return jobs.Fingerprint(orgID, d.Kind(), d.Version, rows)
}

// total counts the rows of a list, at most countSeen ago.
func (s *Server) total(ctx context.Context, key string, q vip.Query) (int64, error) {
	if n, ok := s.totals.get(key, s.now()); ok {
		return n, nil
	}
	n, _, err := s.records.Count(ctx, q, vip.Range{}, time.Time{})
	if err == nil {
		s.totals.set(key, n, s.now())
	}
	return n, err
}

// pageAt reads the page at an offset, and counts the list. Where the page before was read lately it begins
// right behind that, so that skipped rows are not read, and rows that were written between two pages move
// none of the others from one page to the next: each is listed once. At an offset that nobody came to by
// nextOffset the rows before it are skipped, which are billed: not where the count says that there is nothing
// behind them, and of many only while there is a place for it. leave is as of page.
func (s *Server) pageAt(ctx context.Context, caller *apikey.Key, key string, d *dataset.Dataset, q vip.Query, offset, limit int) (page records.Page, total int64, leave func(), err error) {
	leave = func() {}
	after, known := s.positions.get(key+"@"+strconv.Itoa(offset), s.now())
	if known || offset == 0 {
		g, ctx := errgroup.WithContext(ctx)
		g.Go(panics.Task(func() (err error) {
			page, leave, err = s.readPage(ctx, caller, key, d, q, after, offset, 0, limit)
			return err
		}))
		g.Go(panics.Task(func() (err error) {
			total, err = s.total(ctx, key, q)
			return err
		}))
		if err = g.Wait(); err != nil {
			leave()
		}
		return page, total, leave, err
	}
	if total, err = s.total(ctx, key, q); err != nil || int64(offset) >= total {
		return page, total, leave, err
	}
	if offset > farRows {
		done, why := s.skipping.acquire(caller.OrgID, caller.ID)
		if why != admitted {
			return page, total, leave, &problem{status: http.StatusTooManyRequests, message: "too many pages at far offsets at once: go on by nextOffset, page after page, or export", retryAfter: retryAfterOutage * time.Second}
		}
		defer done()
	}
	page, leave, err = s.readPage(ctx, caller, key, d, q, nil, offset, offset, limit)
	return page, total, leave, err
}

// readPage reads a page and remembers where the next one begins.
func (s *Server) readPage(ctx context.Context, caller *apikey.Key, key string, d *dataset.Dataset, q vip.Query, after *vip.Position, offset, skip, limit int) (records.Page, func(), error) {
	page, leave, err := s.page(ctx, caller, d, q, after, skip, limit)
	if err == nil && page.Next != nil {
		s.positions.set(key+"@"+strconv.Itoa(offset+len(page.Rows)), page.Next, s.now())
	}
	return page, leave, err
}

// overviewAnswer is what an overview came to: counts, or why there are none.
type overviewAnswer struct {
	counts []records.LabelCount
	total  int64
	crowd  bool // more labels than an overview holds
}

// positionWeight is about what the begin of a page takes in memory.
func positionWeight(p *vip.Position) int { return 2*textEntry + len(p.Key) + len(p.ID) }

// weight is about what an answer takes in memory.
func (a overviewAnswer) weight() (n int) {
	for _, c := range a.counts {
		n += textEntry + len(c.Label)
	}
	return n
}

// labels is an overview of at most overviewSeen ago, which equal requests share. That a window has too many
// messages or labels is remembered as well: finding out is billed, too.
func (s *Server) labels(ctx context.Context, caller *apikey.Key, f jobs.Params) (overviewAnswer, error) {
	key := listKey(caller.OrgID, dataset.VIPMessages, f)
	a, ok := s.overviews.get(key, s.now())
	if !ok {
		found, err, _ := s.overviews.flights.Do(key, func() (any, error) { return s.countLabels(ctx, caller, key, f) })
		if err != nil {
			return a, err
		}
		a, _ = found.(overviewAnswer)
	}
	if a.total > records.OverviewRows {
		return a, invalid("to", typeOnly, map[string]any{"limit": records.OverviewRows, "value": a.total}, "must leave at most %d messages in the window: it has %d", records.OverviewRows, a.total)
	}
	if a.crowd {
		return a, invalid("to", typeOnly, map[string]any{"limit": records.OverviewLabels}, "must leave at most %d labels in the window, of %d bytes together: its %d messages have more", records.OverviewLabels, records.OverviewLabelBytes, a.total)
	}
	return a, nil
}

// countLabels makes an overview while there is a place for it, and remembers it by key.
func (s *Server) countLabels(ctx context.Context, caller *apikey.Key, key string, f jobs.Params) (a overviewAnswer, err error) {
	leave, why := s.overviewing.acquire(caller.OrgID, caller.ID)
	if why != admitted {
		return a, &problem{status: http.StatusTooManyRequests, message: "too many overviews at once: try again when one has ended", retryAfter: retryAfterOutage * time.Second}
	}
	defer leave()
	// Not the caller's context alone: others wait for the same answer.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), overviewWithin)
	defer cancel()
	a.counts, a.total, err = s.records.LabelCounts(ctx, dataset.VIPMessages.Query(caller.OrgID, f))
	a.crowd = errors.Is(err, records.ErrTooManyLabels)
	if err != nil && !a.crowd && !errors.Is(err, records.ErrTooManyRows) {
		return a, err
	}
	if len(a.counts) <= maxLabels {
		s.overviews.set(key, a, s.now())
	}
	return a, nil
}
