package simulate

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"exportd/internal/backoff"
	"exportd/internal/config"
	"exportd/internal/dataset"
	"exportd/internal/export"
	"exportd/internal/records"
	"exportd/internal/vip"
	"exportd/jobs"
)

// bucket holds the objects of all jobs, without their bytes.
type bucket struct {
	*world
	mu   sync.Mutex
	jobs map[string]map[string]int64 // size by prefix and name
}

func newBucket(w *world) *bucket { return &bucket{world: w, jobs: map[string]map[string]int64{}} }

// put creates an object and reports whether its name was free.
func (b *bucket) put(prefix, name string, size int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.jobs[prefix] == nil {
		b.jobs[prefix] = map[string]int64{}
	}
	if _, taken := b.jobs[prefix][name]; taken {
		return false
	}
	b.jobs[prefix][name] = size
	return true
}

func (b *bucket) delete(prefix, name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.jobs[prefix], name)
	if len(b.jobs[prefix]) == 0 {
		delete(b.jobs, prefix)
	}
}

func (b *bucket) names(prefix string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.jobs[prefix]))
}

// exporter stands in for package export: its plans are real, rows and bytes are time that passes.
type exporter struct {
	*process
	cfg config.Config
}

// rowsOf is how many rows a simulated job has: its channel's name tells.
func rowsOf(j *jobs.Job) int64 {
	n, err := strconv.ParseInt(strings.TrimPrefix(j.Params.Text(dataset.Medium), "rows-"), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Plan is that of package export over rows that lie evenly in the window.
func (e exporter) Plan(ctx context.Context, j *jobs.Job) (export.Plan, error) {
	src := &source{process: e.process, rows: rowsOf(j), from: j.Params.Time(jobs.ParamFrom), to: j.Params.Time(jobs.ParamTo)}
	return export.New(src, nil, export.Config{PartRows: e.cfg.PartRows, MaxParts: 1000, Window: e.cfg.Window, PITR: e.cfg.PITR}).Plan(ctx, j)
}

// Write takes the time that the scan does, and that of the upload's last request: the others go out while
// rows come in.
func (e exporter) Write(ctx context.Context, s export.Spec, p *export.Progress) (jobs.PartResult, error) {
	if err := e.tries(ctx, firestoreQuery, 0, func() {}, "scan", spanOf(s)); err != nil {
		return jobs.PartResult{}, err
	}
	pace := scanRows * (0.8 + 0.4*e.chance("pace", spanOf(s)))
	step := int64(scanRows) // a second's
	if s.Yield != nil {
		step = 2_048 // standing back is modelled eight offers at a time
	}
	for done := int64(0); done < s.Rows; {
		n := min(step, s.Rows-done)
		slower, _ := e.weather()
		if err := backoff.Sleep(ctx, e.scaled(time.Duration(float64(n)/pace*slower*float64(time.Second)))); err != nil {
			return jobs.PartResult{}, err
		}
		if err := e.alive(); err != nil {
			return jobs.PartResult{}, err
		}
		if s.Yield != nil {
			for range n / 256 {
				s.Yield(ctx)
			}
		}
		done += n
		p.Rows.Store(done)
		p.Bytes.Store(done * rowBytes)
		e.count.read("row-", int(n))
	}
	size := s.Rows * rowBytes
	if err := e.object(ctx, s.Job, s.Object, spanOf(s), size); err != nil {
		return jobs.PartResult{}, err
	}
	return jobs.PartResult{Object: s.Object, Rows: s.Rows, Size: size, CRC32C: crc32.ChecksumIEEE([]byte(s.Object))}, nil
}

// spanOf names what a write is about, without the token in its object's name.
func spanOf(s export.Spec) string { return s.Job.ID + s.From }

// object ends an upload. Its requests are one for a small object, and else one to begin and one for each
// chunk.
func (e exporter) object(ctx context.Context, j *jobs.Job, name, key string, size int64) error {
	calls := 1
	if size > 1<<20 {
		calls = 1 + int((size+int64(e.cfg.ChunkBytes)-1)/int64(e.cfg.ChunkBytes))
	}
	return e.take(ctx, storageWrite, 0, func() error {
		e.count.add("Storage upload requests", calls)
		e.count.add("Storage objects written", 1)
		if !e.files.put(j.ObjectPrefix(), name, size) {
			return fmt.Errorf("object %s is there already", name)
		}
		return nil
	}, "write", key)
}

// Changes is not called: the traffic has no exports of changes.
func (e exporter) Changes(_ context.Context, j *jobs.Job, _ jobs.Result, _ string) (jobs.Result, error) {
	return jobs.Result{}, fmt.Errorf("job %s has nothing to be compared with", j.ID)
}

// Compose makes the calls that package objectstore makes: a look whether the file is there, a tree of
// compositions of 32, four at a time, and the intermediate objects' removal.
func (e exporter) Compose(ctx context.Context, j *jobs.Job, parts []*jobs.Part, dst string) (jobs.Result, []string, error) {
	res, names := jobs.Result{Object: dst, Generation: 1}, make([]string, len(parts))
	for i, p := range parts {
		if p.Index != i || p.State != jobs.PartDone {
			return res, nil, fmt.Errorf("part %d of job %s is %s", i, j.ID, p.State)
		}
		names[i] = p.Object
		res.Rows, res.Size = res.Rows+p.Rows, res.Size+p.Size
	}
	if len(parts) != j.PartsTotal || res.Rows != j.RowsTotal {
		return res, nil, fmt.Errorf("job %s has %d of %d parts, %d of %d rows", j.ID, len(parts), j.PartsTotal, res.Rows, j.RowsTotal)
	}
	if err := e.call(ctx, "Storage objects looked at", dst); err != nil {
		return res, nil, err
	}
	between := 0
	for n := len(parts); n > 32; {
		n = (n + 31) / 32
		between += n
		for i := 0; i < n; i += 4 {
			if err := e.compose(ctx, min(4, n-i), dst+strconv.Itoa(i)); err != nil {
				return res, nil, err
			}
		}
	}
	if err := e.compose(ctx, 1, dst); err != nil {
		return res, nil, err
	}
	if !e.files.put(j.ObjectPrefix(), dst, res.Size) {
		return res, nil, fmt.Errorf("object %s is there already", dst)
	}
	if between > 0 {
		if err := e.call(ctx, "Storage lists", dst); err != nil {
			return res, nil, err
		}
		for i := 0; i < between; i += 8 {
			if err := e.calls(ctx, min(8, between-i), "Storage objects deleted", dst+strconv.Itoa(i)); err != nil {
				return res, nil, err
			}
		}
	}
	return res, names, nil
}

func (e exporter) compose(ctx context.Context, n int, key string) error {
	return e.take(ctx, storageWrite, 0, func() error {
		e.count.add("Storage objects composed", n)
		return nil
	}, "compose", key)
}

func (e exporter) call(ctx context.Context, what, key string) error {
	return e.calls(ctx, 1, what, key)
}

func (e exporter) calls(ctx context.Context, n int, what, key string) error {
	if err := e.alive(); err != nil {
		return err
	}
	return e.take(ctx, storageCall, 0, func() error {
		e.count.add(what, n)
		return nil
	}, what, key)
}

// Sweep deletes what an ended job has left.
func (e exporter) Sweep(ctx context.Context, j *jobs.Job) (deleted int, err error) {
	if j.Swept() {
		if j.State == jobs.Succeeded || j.Result.Object == "" {
			return 0, nil
		}
		return 1, e.Discard(ctx, j.Result.Object)
	}
	prefix := j.ObjectPrefix()
	if err := e.call(ctx, "Storage lists", prefix); err != nil {
		return 0, err
	}
	for _, name := range e.files.names(prefix) {
		epoch, _, _ := strings.Cut(strings.TrimPrefix(name, prefix), "/")
		n, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil || n > j.Epoch || j.State == jobs.Succeeded && name == j.Result.Object {
			continue
		}
		if err := e.Discard(ctx, name); err != nil {
			return deleted, err
		}
		deleted++
	}
	return deleted, nil
}

// Discard deletes objects, one after the other.
func (e exporter) Discard(ctx context.Context, names ...string) error {
	for _, name := range names {
		if err := e.call(ctx, "Storage objects deleted", name); err != nil {
			return err
		}
		// exports/org/job/ is the prefix.
		parts := strings.SplitAfterN(name, "/", 4)
		e.files.delete(strings.Join(parts[:3], ""), name)
	}
	return nil
}

// SignedURL asks IAM for a signature.
func (e exporter) SignedURL(ctx context.Context, object string, _ time.Duration, _ string) (string, error) {
	if err := e.alive(); err != nil {
		return "", err
	}
	err := e.take(ctx, signBlob, 0, func() error { e.count.add("IAM signBlob", 1); return nil }, "sign", object)
	return "https://simulated/" + object, err
}

// tries makes a call of package records: again when it fails, as that package does.
func (p *process) tries(ctx context.Context, l latency, more time.Duration, do func(), keys ...string) error {
	for try := 1; ; try++ {
		err := p.ask(ctx, l, more, func() error { do(); return nil }, keys...)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if try == recordsTries {
			return errors.Join(jobs.ErrUnavailable, err)
		}
		pause := min(recordsPause<<(try-1), recordsLongest)
		if err := backoff.Sleep(ctx, p.scaled(pause/2+time.Duration(p.chance(append(keys, "pause")...)*float64(pause)))); err != nil {
			return err
		}
	}
}

// source is rows that lie evenly in a window, the newest first, as package export asks for them.
type source struct {
	*process
	rows     int64
	from, to time.Time
}

// SnapshotTime costs a read.
func (s *source) SnapshotTime(ctx context.Context) (time.Time, error) {
	err := s.tries(ctx, firestoreRead, 0, func() { s.count.read(s.name, 1) }, "snapshot")
	return time.Now().UTC().Truncate(time.Microsecond), err
}

// before is how many rows lie before a position.
func (s *source) before(p *vip.Position, open int64) int64 {
	if p == nil {
		return open
	}
	t, _ := vip.KeyTime(p.Key)
	share := float64(s.to.Sub(t)) / float64(s.to.Sub(s.from))
	return min(max(int64(math.Ceil(share*float64(s.rows)-0.5)), 0), s.rows)
}

// Count goes over the index entries of a range.
func (s *source) Count(ctx context.Context, _ vip.Query, rng vip.Range, at time.Time) (int64, time.Time, error) {
	n := s.before(rng.To, s.rows) - s.before(rng.From, 0)
	if at.IsZero() {
		at = time.Now().UTC().Truncate(time.Microsecond)
	}
	err := s.tries(ctx, firestoreQuery, time.Duration(n)*time.Second/countEntries, func() {
		s.count.read(s.name, max(1, int((n+999)/1000)))
	}, "count rows", strconv.FormatInt(n, 10), strconv.FormatInt(s.before(rng.From, 0), 10))
	return n, at, err
}

// First gives the first row of a range.
func (s *source) First(ctx context.Context, _ vip.Query, rng vip.Range, _ time.Time) (*vip.Position, error) {
	i := s.before(rng.From, 0)
	err := s.tries(ctx, firestoreQuery, 0, func() { s.count.read(s.name, 1) }, "first", strconv.FormatInt(i, 10))
	if err != nil || i >= s.rows {
		return nil, err
	}
	back := time.Duration((float64(i) + 0.5) / float64(s.rows) * float64(s.to.Sub(s.from)))
	return &vip.Position{Key: vip.TimeKey(s.to.Add(-back)), ID: strconv.FormatInt(i, 10)}, nil
}

// Scan is not called: Write stands in for it.
func (s *source) Scan(context.Context, vip.Query, vip.Range, time.Time, records.Options, func([]byte) error) error {
	return errors.New("simulated rows cannot be scanned")
}

// Lost looks for the file, which nobody deletes here.
func (e exporter) Lost(ctx context.Context, j *jobs.Job) (bool, error) {
	return false, e.call(ctx, "Storage objects looked at", j.Result.Object)
}
