package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/csvrow"
	"exportd/internal/dataset"
	"exportd/internal/jobstore"
	"exportd/internal/localcloud"
	"exportd/internal/objectstore"
	"exportd/internal/records"
	"exportd/internal/vip"
	"exportd/jobs"
)

// The names that exportd uses on emulators when nothing else is set.
const (
	project = "exportd-local"
	bucket  = project + "-exports"
)

// inspector looks at the cloud directly, past the fleet.
type inspector struct {
	firestore *firestore.Client
	store     *jobstore.Store
	records   *records.Reader
	objects   *objectstore.Store
	mixed     bool                           // the fleet is of two builds
	expected  map[string][][sha256.Size]byte // by what was asked for and when
}

func newInspector(ctx context.Context, hosts map[string]string, mixed bool) (*inspector, error) {
	in := &inspector{mixed: mixed, expected: map[string][][sha256.Size]byte{}}
	var err error
	if in.firestore, err = firestore.NewClient(ctx, project, localcloud.GRPCOptions(hosts["firestore"])...); err != nil {
		return nil, err
	}
	in.store = jobstore.New(jobstore.Config{Client: in.firestore})
	if in.records, err = records.Open(ctx, records.Config{ProjectID: project, Emulator: hosts["firestore"]}); err != nil {
		return nil, err
	}
	in.objects, err = objectstore.Open(ctx, objectstore.Config{Bucket: bucket, EmulatorHost: hosts["storage"]})
	return in, err
}

func (in *inspector) close() {
	_ = in.firestore.Close() // the run is over
	_ = in.records.Close()
	_ = in.objects.Close()
}

// settled reports whether every job has ended and nothing is left to clean up.
func (in *inspector) settled(ctx context.Context) (bool, error) {
	all, err := in.jobs(ctx)
	if err != nil {
		return false, err
	}
	return !slices.ContainsFunc(all, func(j *jobs.Job) bool { return !j.State.Ended() || j.Cleanup }), nil
}

func (in *inspector) jobs(ctx context.Context) ([]*jobs.Job, error) {
	var all []*jobs.Job
	for token := ""; ; {
		page, err := in.store.List(ctx, jobs.List{IncludeDeleted: true, PageToken: token})
		if err != nil {
			return nil, err
		}
		all = append(all, page.Jobs...)
		if token = page.Next; token == "" {
			return all, nil
		}
	}
}

// inspect checks everything that the run promises and adds what it finds to r.
func (in *inspector) inspect(ctx context.Context, c *caller, r *report) error {
	all, err := in.jobs(ctx)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	results := map[string]bool{}
	now := time.Now()
	for _, j := range all {
		known[j.ID] = true
		if !j.State.Ended() || j.WakeAt.Before(now) || j.Cleanup {
			r.stuck = append(r.stuck, fmt.Sprintf("job %s is %s/%s, due %s", j.ID, j.State, j.Phase, j.WakeAt))
		}
		if j.State == jobs.Succeeded {
			results[j.Result.Object] = true
		}
		if a := c.accepted[j.ID]; a == nil {
			r.wrong = append(r.wrong, "job "+j.ID+" was never asked for")
			continue
		}
		if err := in.inspectJob(ctx, c, j, r); err != nil {
			return err
		}
	}
	for id := range c.accepted {
		if !known[id] {
			r.lost = append(r.lost, "accepted job "+id+" is not there")
		}
	}
	for obj, err := range in.objects.List(ctx, "exports/") {
		if err != nil {
			return err
		}
		if !results[obj.Name] {
			r.leftovers = append(r.leftovers, obj.Name)
		}
	}
	if err := in.inspectCallbacks(ctx, c, all, r); err != nil {
		return err
	}
	parts, err := in.store.Due(ctx, jobs.DueParts, jobs.AllShards(), now.Add(24*time.Hour), 100, nil)
	for _, p := range parts.Docs {
		r.stuck = append(r.stuck, fmt.Sprintf("part %d of job %s is due", p.Message.Part, p.Message.JobID))
	}
	return err
}

func (in *inspector) inspectJob(ctx context.Context, c *caller, j *jobs.Job, r *report) error {
	events, err := in.store.Events(ctx, j.ID)
	if err != nil {
		return err
	}
	claims, interrupted, retried, partEnds := 0, 0, 0, 0
	for _, e := range events {
		switch {
		case e.Type == jobs.EventClaimed:
			claims++
		case e.Type == jobs.EventInterrupted && e.Part < 0:
			interrupted++
		case e.Type == jobs.EventRetry || e.Type == jobs.EventRestarted:
			retried++
		case e.Part >= 0:
			partEnds++
		}
	}
	r.attempts += claims
	r.interruptions += interrupted
	r.retries += retried
	r.partAttempts += partEnds
	if j.Attempt != claims-interrupted && j.State == jobs.Succeeded {
		r.wrong = append(r.wrong, fmt.Sprintf("job %s: attempt %d, but %d claims and %d interruptions in its timeline", j.ID, j.Attempt, claims, interrupted))
	}
	switch j.State {
	case jobs.Succeeded:
		r.succeeded++
		r.rows += j.RowsTotal
		r.parts += j.PartsTotal
		return in.inspectFile(ctx, c, j, r)
	case jobs.Canceled:
		r.canceled++
		if !c.accepted[j.ID].canceled {
			// The cancel's answer may have been lost; the timeline tells whose it was.
			if len(events) == 0 || !slices.ContainsFunc(events, func(e jobs.Event) bool { return e.Type == jobs.EventCanceled }) {
				r.wrong = append(r.wrong, "job "+j.ID+" was canceled by nobody")
			}
		}
	default:
		text := ""
		if j.Error != nil {
			text = string(j.Error.Code) + " " + j.Error.Message
		}
		r.lost = append(r.lost, fmt.Sprintf("job %s is %s: %s", j.ID, j.State, text))
	}
	return nil
}

// inspectFile downloads a job's file as its owner would and compares it with the snapshot.
func (in *inspector) inspectFile(ctx context.Context, c *caller, j *jobs.Job, r *report) error {
	got, err := c.get(ctx, rand.New(rand.NewPCG(1, 1)), j.ID)
	if err != nil {
		return err
	}
	if got.CSVURL == nil || got.TotalCount == nil || *got.TotalCount != j.RowsTotal {
		r.wrong = append(r.wrong, fmt.Sprintf("job %s succeeded without a link or with another count", j.ID))
		return nil
	}
	fault, err := in.compareFile(ctx, c, j, *got.CSVURL)
	if fault != "" {
		r.wrong = append(r.wrong, fault)
	}
	r.bytes += j.Result.Size
	return err
}

// compareFile says how the file behind a link differs from the job's snapshot, "" if it does not.
func (in *inspector) compareFile(ctx context.Context, c *caller, j *jobs.Job, link string) (fault string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return "", err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	h := sha256.New()
	n, err := io.Copy(h, res.Body)
	if err != nil {
		return "", err
	}
	want, err := in.expect(ctx, j)
	if err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusOK || n != j.Result.Size || !slices.Contains(want, [sha256.Size]byte(h.Sum(nil))) {
		return fmt.Sprintf("job %s: the file (%s, %d bytes) differs from the snapshot", j.ID, res.Status, n), nil
	}
	return "", nil
}

// expect is the sha256 of the rows of j at its snapshot, in one go: with the header of this build, and where
// the fleet is of two, with that of 0.1.0, which quoted nothing in it.
func (in *inspector) expect(ctx context.Context, j *jobs.Job) ([][sha256.Size]byte, error) {
	params, err := json.Marshal(j.Params)
	if err != nil {
		return nil, err
	}
	key := fmt.Sprintf("%s %s %s", j.Kind, params, j.SnapshotTime)
	if sums, ok := in.expected[key]; ok {
		return sums, nil
	}
	d := dataset.BuiltIn.Get(string(j.Kind))
	enc := csvrow.NewEncoder(d, csvrow.Options{FormulaGuard: j.Params.FormulaGuard(), BOM: j.Params.BOM(), Excel: j.Params.Excel()})
	headers := [][]byte{enc.AppendHeader(nil)}
	if in.mixed && !j.Params.Excel() {
		headers = append(headers, bytes.ReplaceAll(headers[0], []byte{'"'}, nil))
	}
	var hashes []hash.Hash // which take everything
	for _, header := range headers {
		h := sha256.New()
		_, _ = h.Write(header)
		hashes = append(hashes, h)
	}
	var row []byte
	rows := int64(0)
	err = in.records.Scan(ctx, d.Query(j.OrgID, j.Params), vip.Range{}, j.SnapshotTime, records.Options{}, func(doc []byte) error {
		var err error
		if row, err = enc.AppendRow(row[:0], doc); err != nil {
			return err
		}
		rows++
		for _, h := range hashes {
			_, _ = h.Write(row)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if rows != j.RowsTotal {
		return nil, fmt.Errorf("job %s: the snapshot has %d rows, its count says %d", j.ID, rows, j.RowsTotal)
	}
	var sums [][sha256.Size]byte
	for _, h := range hashes {
		sums = append(sums, [sha256.Size]byte(h.Sum(nil)))
	}
	in.expected[key] = sums
	return sums, nil
}
