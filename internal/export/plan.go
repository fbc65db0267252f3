package export

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"exportd/internal/dataset"
	"exportd/internal/panics"
	"exportd/internal/tracing"
	"exportd/internal/vip"
	"exportd/jobs"
)

// Plan is the snapshot of a job, its rows, and how they are cut into parts. One part means that nothing is to
// be stored: whoever planned writes the file at once.
type Plan struct {
	Snapshot time.Time
	Rows     int64
	Parts    []jobs.Range
	// SheetRows is how many of the rows a sheet has at most, where the file is a zip of sheets; else 0.
	SheetRows int64
	// Counting and Cutting are how long it took to make it, also where that failed.
	Counting, Cutting time.Duration
}

const (
	// countsAtOnce bounds the counts under way for one plan: production answers each in some 10 ms, so that
	// more would only take the database from others.
	countsAtOnce = 8
	// maxFan bounds into how many pieces a range is cut at a time. More find balanced cuts in fewer passes
	// over the index but make more requests.
	maxFan = 64
	// maxDepth bounds the passes. A place of 64 bits is found in 32, as a range that is cut is cut in at
	// least 4; the rest is for ids: some for each stretch of characters where they part. Rows that are not
	// parted then are one large part.
	maxDepth = 160
)

// Plan picks the job's snapshot, unless it has one, counts its rows there and cuts them. The snapshot is the
// time of the count by the database's clock; with point-in-time recovery, the last whole minute, which stays
// readable for 7 days.
func (e *Exporter) Plan(ctx context.Context, j *jobs.Job) (_ Plan, err error) {
	ctx, span := tracing.Start(ctx, tracing.Step{Name: "plan"})
	defer func() { endSpan(span, err) }()
	d, q, err := e.dataset(j)
	if err != nil {
		return Plan{}, err
	}
	begun, at := time.Now(), j.SnapshotTime
	if at.IsZero() && e.cfg.PITR {
		now, err := e.source.SnapshotTime(ctx)
		if err != nil {
			return Plan{}, err
		}
		at = now.Truncate(time.Minute)
	}
	counting, counted := tracing.Start(ctx, tracing.Step{Name: "count"})
	rows, at, err := e.source.Count(counting, q, vip.Range{}, at)
	counted.Set(tracing.Rows(rows))
	endSpan(counted, err)
	plan := Plan{Snapshot: at, Rows: rows, Parts: []jobs.Range{{Rows: rows}}, Counting: time.Since(begun)}
	if err != nil {
		return plan, err
	}
	if e.cfg.MaxRows > 0 && rows > e.cfg.MaxRows {
		return plan, jobs.Fail(jobs.CodeTooManyRows, jobs.Permanent,
			fmt.Sprintf("the export has %d rows, at most %d are allowed", rows, e.cfg.MaxRows),
			"ask for a smaller window or more filters, or raise EXPORTD_MAX_ROWS", nil)
	}
	if f := e.cfg.pastSheet(j.Params, rows); f != nil {
		return plan, f
	}
	plan.SheetRows = e.cfg.sheetRows(j.Params, rows)
	target := e.cfg.partRows(rows, plan.SheetRows)
	if rows <= target {
		return plan, nil
	}
	most := cmp.Or(plan.SheetRows, rows)
	if plan.Parts, err = e.split(ctx, d, q, at, rows, target, most); err == nil && plan.SheetRows > 0 {
		err = e.cfg.fitSheets(plan.Parts, most)
	}
	plan.Cutting = time.Since(begun) - plan.Counting
	span.Set(tracing.Parts(len(plan.Parts)))
	return plan, err
}

// endSpan ends a step of the pipeline.
func endSpan(span *tracing.Span, err error) {
	if err != nil {
		span.Fail(string(jobs.AsFailure(err).Code))
	}
	span.End()
}

const (
	// partsPerMinute is how many parts may end in a minute. Their commits meet at the job's document, and
	// Firestore bears one write a second of a document for long: with the ten or so other writes of a job's
	// busiest minute these are half of that.
	partsPerMinute = 20
	// randomPartsPerMinute is the same for many parts whose ends are at random, so that some minute has more.
	randomPartsPerMinute = 18
	// maxLongParts is how many may that last so long that claim, plan and all that are in other minutes.
	maxLongParts = 26
	// streamRows is what a query stream of Firestore gives in a minute at most: 8,000 rows a second.
	streamRows = 60 * 8_000
	// defaultPartRows: whoever sets smaller parts than the default wants many of them.
	defaultPartRows = 50_000
	// leavesPerPart is how finely rows are counted where parts have to be of certain sizes.
	leavesPerPart = 4
)

// target is how many rows a part of an export should have. Exports of more than partsPerMinute parts get
// larger ones: as many as that, or so large that no more end in a minute while all of the window are under
// way.
func (c Config) target(rows int64) int64 {
	target := max(c.PartRows, rows/int64(c.MaxParts)+1)
	if c.PartRows < defaultPartRows {
		return target
	}
	target = max(target, min(rows/partsPerMinute+1, int64(c.Window)*streamRows/randomPartsPerMinute))
	if c.exceedsWindow(rows, target) {
		return target
	}
	return max(target, rows/maxLongParts+1)
}

// partRows is target for an export whose sheets have so many rows each; 0 where it has not several.
func (c Config) partRows(rows, sheet int64) int64 {
	if sheet > 0 {
		return min(c.target(rows), sheet)
	}
	return c.target(rows)
}

// exceedsWindow reports whether the parts of an export are so many that some wait for others.
func (c Config) exceedsWindow(rows, target int64) bool {
	return c.PartRows >= defaultPartRows && rows > int64(c.Window)*target
}

// maxRows is how many rows the part of an index should have, at most. The first window begins in one instant.
// Were its parts alike, they would end together, and so would those that follow each; so they have from a
// half of target to one and a half, and their ends are spread over the time of a part.
func (c Config) maxRows(rows, target int64, index int) int64 {
	if index >= c.Window || !c.exceedsWindow(rows, target) {
		return target
	}
	return target/2 + target*int64(index)/int64(c.Window)
}

// piece is a stretch of the rows in a plan being made: what an axis has in [lo, hi).
type piece struct {
	axis     axis
	lo, hi   uint64
	from, to *vip.Position // nil is the query's own end
	rows     int64
}

// split cuts the rows of q into ranges of about target rows each. It works down from the whole: a piece that
// is too large is cut at evenly spaced places of its axis, the pieces are counted side by side, and the large
// ones cut again; rows that share a sort key are cut by document id. Small neighbours are joined in the end,
// but never to more than most rows.
func (e *Exporter) split(ctx context.Context, d *dataset.Dataset, q vip.Query, at time.Time, rows, target, most int64) ([]jobs.Range, error) {
	s := &splitter{e: e, q: q, at: at, target: target}
	if e.cfg.exceedsWindow(rows, target) {
		s.target /= leavesPerPart
	}
	whole := piece{axis: keyAxis(d, q), rows: rows}
	whole.lo, whole.hi = whole.axis.bounds()
	leaves, err := s.cut(ctx, whole, 0)
	if err != nil {
		return nil, err
	}
	ranges, sum := e.cfg.join(leaves, rows, target, most)
	for len(ranges) > e.cfg.MaxParts && target < most { // parts are smaller than they may be, by a fifth or so: more than that are no plan
		target += target/8 + 1
		ranges, sum = e.cfg.join(leaves, rows, target, most)
	}
	if sum != rows {
		return nil, jobs.Fail(jobs.CodeCountMismatch, jobs.Transient,
			fmt.Sprintf("the parts count %d rows, the whole %d", sum, rows),
			"the database counted differently at one snapshot time; the job is tried again by itself", nil)
	}
	return ranges, nil
}

// join makes parts of neighbours, and gives how many rows they have.
func (c Config) join(leaves []piece, rows, target, most int64) (ranges []jobs.Range, sum int64) {
	for _, p := range leaves {
		sum += p.rows
		if n := len(ranges); n > 0 && ranges[n-1].Rows+p.rows <= min(most, c.maxRows(rows, target, n-1)) {
			ranges[n-1].Rows += p.rows
			ranges[n-1].To = encode(p.to)
			continue
		}
		ranges = append(ranges, jobs.Range{From: encode(p.from), To: encode(p.to), Rows: p.rows})
	}
	return ranges, sum
}

func encode(p *vip.Position) string {
	if p == nil {
		return ""
	}
	return p.String()
}

type splitter struct {
	e      *Exporter
	q      vip.Query
	at     time.Time
	target int64
}

// cut gives the leaves of p in order.
func (s *splitter) cut(ctx context.Context, p piece, depth int) ([]piece, error) {
	if p.rows <= s.target || p.axis == nil || depth > maxDepth {
		return []piece{p}, nil
	}
	p, err := s.narrow(ctx, p)
	if err != nil || p.axis == nil {
		return []piece{p}, err
	}
	pieces, err := s.count(ctx, p)
	if err != nil {
		return nil, err
	}
	leaves := make([][]piece, len(pieces))
	for i, c := range pieces {
		// One after the other: the counts inside run side by side already.
		if leaves[i], err = s.cut(ctx, c, depth+1); err != nil {
			return nil, err
		}
	}
	var out []piece
	for _, l := range leaves {
		out = append(out, l...)
	}
	return out, nil
}

// narrow moves the begin of p to its first row, and while only one place of the axis is left goes over to the
// next axis.
func (s *splitter) narrow(ctx context.Context, p piece) (piece, error) {
	first, err := s.e.source.First(ctx, s.q, vip.Range{From: p.from, To: p.to}, s.at)
	if err != nil {
		return p, err
	}
	if first == nil {
		return p, jobs.Fail(jobs.CodeCountMismatch, jobs.Transient, "counted rows are not there", "the job is tried again by itself", nil)
	}
	count := func(rng vip.Range) (int64, error) {
		n, _, err := s.e.source.Count(ctx, s.q, clip(rng, p), s.at)
		return n, err
	}
	for { // ends: each axis that follows another is finer, or looks further into the first row's id
		p.lo = max(p.lo, p.axis.indexOf(*first))
		if p.hi-p.lo > 1 {
			return p, nil
		}
		if p.axis, err = p.axis.next(*first, count, p.rows); err != nil || p.axis == nil {
			return p, err
		}
		p.lo, p.hi = p.axis.bounds()
		if p.to != nil { // the new axis may reach beyond where the piece was cut off
			p.hi = min(p.hi, p.axis.indexOf(*p.to)+1)
		}
	}
}

// clip keeps rng within p where rng is open.
func clip(rng vip.Range, p piece) vip.Range {
	if rng.From == nil {
		rng.From = p.from
	}
	if rng.To == nil {
		rng.To = p.to
	}
	return rng
}

// count cuts p at evenly spaced places and counts the pieces; empty ones are joined to their neighbour.
func (s *splitter) count(ctx context.Context, p piece) ([]piece, error) {
	pieces := s.fan(p)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(countsAtOnce)
	for i := range pieces {
		g.Go(panics.Task(func() error {
			var err error
			pieces[i].rows, _, err = s.e.source.Count(gctx, s.q, vip.Range{From: pieces[i].from, To: pieces[i].to}, s.at)
			return err
		}))
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var out []piece
	for _, c := range pieces {
		if n := len(out); n > 0 && c.rows == 0 {
			out[n-1].to = c.to // nothing there: the axis range stays, the bound moves
			continue
		}
		if len(out) == 1 && out[0].rows == 0 {
			c.from = out[0].from
			out = out[:0]
		}
		out = append(out, c)
	}
	return out, nil
}

// fan cuts p into pieces: about two for each part it will make, so that joining neighbours gives parts near
// the target.
func (s *splitter) fan(p piece) []piece {
	n := min(uint64(2*(p.rows/s.target+1)), maxFan, p.hi-p.lo)
	step := (p.hi - p.lo) / n
	var out []piece
	from := p.from
	for i := uint64(0); i < n; i++ {
		lo, hi := p.lo+i*step, p.lo+(i+1)*step
		to := p.to
		if i == n-1 {
			hi = p.hi
		} else {
			pos := p.axis.position(hi)
			to = &pos
		}
		out = append(out, piece{axis: p.axis, lo: lo, hi: hi, from: from, to: to})
		from = to
	}
	return out
}
