package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/api/iterator"

	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/demo"
	"exportd/internal/e2e/e2etest"
	"exportd/internal/export"
	"exportd/internal/objectstore"
	"exportd/internal/records"
	"exportd/jobs"
)

// snapshotSize is about 50,000 rows in a hundred parts, and with the race detector, which takes ten times as
// long, a fifth of that in half as many parts.
func snapshotSize() (users, partRows int) {
	if e2etest.RaceDetector {
		return 11_000, 200
	}
	return 56_000, 500
}

// TestSnapshot: users, many with equal keys, exported in many parts by three workers, while rows are changed,
// added and deleted all the while. The file is the picture of one instant: what the official client reads at
// it, and byte for byte what an export in one part gives.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	_, hosts := e2etest.Emulators(t, exportd, t.TempDir(), "--control", "127.0.0.1:0")
	users, partRows := snapshotSize()
	s := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: users, Messages: 1})
	for range 3 {
		e2etest.Worker(t, exportd, hosts, "EXPORTD_PART_ROWS="+strconv.Itoa(partRows))
	}
	writes, stop := change(t, s)
	e2etest.Until(t, jobWithin, "the first changes", func() bool { return writes.Load() > 100 })

	before := writes.Load()
	begun := time.Now()
	job, file := s.Caller().Export(t, "vip-users", s.Users())
	during := writes.Load() - before
	t.Logf("%d rows in %d parts took %s, with %d changes meanwhile", *job.TotalCount, job.Progress.PartsTotal, time.Since(begun), during)
	failed, resumed := failAndResume(t, s)
	stop()
	if during < 100 {
		t.Errorf("%d changes while the export ran: that proves nothing", during)
	}
	if *job.TotalCount < int64(users)*85/100 || job.Progress.PartsTotal < users/partRows*85/100 || job.Progress.PartsDone != job.Progress.PartsTotal {
		t.Errorf("%d rows in %d parts", *job.TotalCount, job.Progress.PartsTotal)
	}

	rows := readAt(t, s, *job.SnapshotTime)
	want, guarded := e2etest.File("vip-users", rows, true)
	if !bytes.Equal(file, want) {
		t.Errorf("against the official client at %s: %s", job.SnapshotTime, firstDifference(file, want))
	}
	if *job.GuardedCells != guarded || *job.TotalCount != int64(len(rows)) || *job.SizeBytes != int64(len(want)) {
		t.Errorf("job = %d rows, %d bytes, %d guarded; want %d, %d, %d", *job.TotalCount, *job.SizeBytes, *job.GuardedCells, len(rows), len(want), guarded)
	}
	guardedByColumn(t, s, job, file)
	provenByParts(t, s, job, file)
	if one := onePart(t, s, *job.SnapshotTime, false); !bytes.Equal(file, one) {
		t.Errorf("against one part: %s", firstDifference(file, one))
	}
	if one := onePart(t, s, *failed.SnapshotTime, true); !bytes.Equal(resumed, one) {
		t.Errorf("a resumed export against one part at the same snapshot: %s", firstDifference(resumed, one))
	}
}

// failAndResume has an export fail with some of its parts done, and an operator run it again: from the same
// snapshot, while rows go on changing. It gives the failed job and the file.
func failAndResume(t *testing.T, s *e2etest.Stack) (failed e2etest.Job, file []byte) {
	t.Helper()
	c := s.Caller()
	s.Faults(t, `{"rules": {"Firestore/RunQuery": {"rowsPerSecond": 1000}}}`)
	id := c.Submit(t, "vip-users", s.Users("hasBirthday", "true"), "Cache-Control", "no-cache")
	e2etest.Until(t, jobWithin, "some parts to be done", func() bool { return c.Job(t, id, "").Progress.PartsDone >= 5 })
	// The source refuses to be read: permanent, and the operator's to put right.
	s.Faults(t, `{"rules": {"Firestore/RunQuery": {"errorRate": 1, "code": "PERMISSION_DENIED"}}}`)
	db := s.OpenFirestore(t)
	// The API asks for a job by a query, which is refused too.
	e2etest.Until(t, jobWithin, "the job to fail", func() bool {
		doc, err := db.Collection("ExportJobs").Doc(id).Get(t.Context())
		return err == nil && doc.Data()["state"] == "failed"
	})
	s.Faults(t, "{}")
	failed = c.Await(t, id, jobWithin)
	done := failed.Progress.PartsDone
	if failed.State != "failed" || failed.Error == nil || failed.Error.Code != "SOURCE_PERMISSION_DENIED" || done < 5 || done == failed.Progress.PartsTotal {
		t.Fatalf("a job whose source cannot be read is %s with %d of %d parts: %+v", failed.State, done, failed.Progress.PartsTotal, failed.Error)
	}
	r := s.Operator().Do(t, http.MethodPost, "/ops/jobs/"+id+"/rerun", nil, strings.NewReader(`{"reason": "permission is back", "mode": "resume"}`),
		"Content-Type", "application/json")
	var answer struct{ Mode string }
	r.Want(t, http.StatusAccepted).JSON(t, &answer)
	job := c.Await(t, id, 2*time.Minute)
	if answer.Mode != "resume" || job.State != "succeeded" || !job.SnapshotTime.Equal(*failed.SnapshotTime) {
		t.Fatalf("rerun with mode %s: the job is %s at snapshot %s, want one at %s: %+v", answer.Mode, job.State, job.SnapshotTime, failed.SnapshotTime, job.Error)
	}
	t.Logf("failed with %d of %d parts done, resumed to %d rows", done, failed.Progress.PartsTotal, *job.TotalCount)
	file = e2etest.Download(t, *job.CSVURL).Body
	guardedByColumn(t, s, job, file)
	provenByParts(t, s, job, file)
	return failed, file
}

// provenByParts: the parts that the manifest has are all of the file, each with the SHA-256 of its bytes.
func provenByParts(t *testing.T, s *e2etest.Stack, job e2etest.Job, file []byte) {
	t.Helper()
	var m struct {
		Parts []struct {
			Offset, SizeBytes, Rows int64
			SHA256                  string
		}
	}
	s.Caller().Get(t, "/exports/"+job.JobID+"/manifest", nil).Want(t, http.StatusOK).JSON(t, &m)
	end, rows, written := int64(0), int64(0), 0
	for i, p := range m.Parts {
		if p.Offset != end || p.SHA256 != fmt.Sprintf("%x", sha256.Sum256(file[end:end+p.SizeBytes])) {
			t.Fatalf("the manifest's part %d is %+v, which is not that of the file's bytes from %d on", i, p, end)
		}
		end, rows = end+p.SizeBytes, rows+p.Rows
		if p.Rows > 0 { // else it is what stands between those of a zip
			written++
		}
	}
	if end != int64(len(file)) || rows != *job.TotalCount || written != job.Progress.PartsTotal {
		t.Errorf("%d parts have %d bytes and %d rows", written, end, rows)
	}
}

// guardedByColumn: the manifest counts the guarded cells that a reader of the file finds in each column, and
// with those of other columns they are the job's.
func guardedByColumn(t *testing.T, s *e2etest.Stack, job e2etest.Job, file []byte) {
	t.Helper()
	rows, err := csv.NewReader(bytes.NewReader(file)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := make([]int64, len(rows[0]))
	for _, row := range rows[1:] {
		for i, cell := range row {
			if csvrowtest.Unguard(cell) != cell {
				want[i]++
			}
		}
	}
	var m struct {
		TableSchema struct {
			Columns []struct {
				Name         string
				GuardedCells *int64
			}
		}
	}
	s.Caller().Get(t, "/exports/"+job.JobID+"/manifest", nil).Want(t, http.StatusOK).JSON(t, &m)
	sum, columns := int64(0), 0
	for i, c := range m.TableSchema.Columns {
		if c.Name != rows[0][i] || c.GuardedCells == nil || *c.GuardedCells != want[i] {
			t.Fatalf("the manifest's column %d is %+v, the file has %d guarded cells in %s", i, c, want[i], rows[0][i])
		}
		if sum += want[i]; want[i] > 0 {
			columns++
		}
	}
	if sum != *job.GuardedCells || columns < 2 {
		t.Errorf("%d cells in %d columns are guarded, of the job %d", sum, columns, *job.GuardedCells)
	}
}

// change changes users of the main workspace until stop is called: other sort keys, other texts, new rows,
// deleted rows.
func change(t *testing.T, s *e2etest.Stack) (writes *atomic.Int64, stop func()) {
	t.Helper()
	target, closeTarget, err := demo.DialEmulator(t.Context(), s.Firestore, e2etest.Project)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	writes = new(atomic.Int64)
	stored := s.Stored(t, "vip-users")
	var g errgroup.Group
	for writer := range uint64(2) {
		g.Go(func() error {
			r := rand.New(rand.NewPCG(1, writer))
			tick := time.NewTicker(10 * time.Millisecond) // leaves the machine to the export
			defer tick.Stop()
			for n := 0; ctx.Err() == nil; n++ {
				<-tick.C
				request := &firestorepb.CommitRequest{Database: target.Database}
				for i := range 10 {
					name := target.Database + "/documents/VipUsers/" + stored[r.IntN(len(stored))].ID
					if i%4 == 0 {
						name = fmt.Sprintf("%s/documents/VipUsers/new-%d-%d-%d", target.Database, writer, n, i)
					}
					request.Writes = append(request.Writes, changed(s, r, name, i))
				}
				if _, err := target.Client.Commit(ctx, request); err != nil && ctx.Err() == nil {
					return err
				}
				writes.Add(10)
			}
			return nil
		})
	}
	return writes, func() {
		t.Helper()
		cancel()
		if err := g.Wait(); err != nil {
			t.Errorf("change rows: %v", err)
		}
		_ = closeTarget() // nothing is under way
	}
}

func changed(s *e2etest.Stack, r *rand.Rand, name string, i int) *firestorepb.Write {
	if i%4 == 1 {
		return &firestorepb.Write{Operation: &firestorepb.Write_Delete{Delete: name}}
	}
	text := func(s string) *firestorepb.Value {
		return &firestorepb.Value{ValueType: &firestorepb.Value_StringValue{StringValue: s}}
	}
	ltv := []float64{0, 10, float64(r.IntN(100)), r.Float64() * 1e4}[r.IntN(4)]
	return &firestorepb.Write{
		Operation: &firestorepb.Write_Update{Update: &firestorepb.Document{Name: name, Fields: map[string]*firestorepb.Value{
			"workspaceId": text(s.WorkspaceID), "mediumId": text(s.MediumID), "displayName": text(fmt.Sprintf("=changed %d, \"again\"", r.Int())),
			"ltv": {ValueType: &firestorepb.Value_DoubleValue{DoubleValue: ltv}},
		}}},
		UpdateMask: &firestorepb.DocumentMask{FieldPaths: []string{"workspaceId", "mediumId", "displayName", "ltv"}},
	}
}

// readAt reads the users of the main workspace as they were, with the official client.
func readAt(t *testing.T, s *e2etest.Stack, at time.Time) []e2etest.Row {
	t.Helper()
	client := s.OpenFirestore(t)
	users := client.Collection("VipUsers").Where("workspaceId", "==", s.WorkspaceID).Where("mediumId", "==", s.MediumID).
		OrderBy("ltv", firestore.Desc).OrderBy(firestore.DocumentID, firestore.Asc)
	documents := users.WithReadOptions(firestore.ReadTime(at)).Documents(t.Context())
	defer documents.Stop()
	var rows []e2etest.Row
	for {
		d, err := documents.Next()
		if err == iterator.Done {
			return rows
		}
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, e2etest.Row{ID: d.Ref.ID, Fields: d.Data()})
	}
}

// onePart exports the same rows at the same instant in one part, in this process.
func onePart(t *testing.T, s *e2etest.Stack, at time.Time, hasBirthday bool) []byte {
	t.Helper()
	reader, err := records.Open(t.Context(), records.Config{ProjectID: e2etest.Project, Emulator: s.Firestore})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	objects, err := objectstore.Open(t.Context(), objectstore.Config{Bucket: e2etest.Project + "-exports", EmulatorHost: s.Storage, ProjectID: e2etest.Project})
	if err != nil {
		t.Fatal(err)
	}
	defer objects.Close()
	exporter := export.New(reader, objects, export.Config{PartRows: 1 << 30, MaxParts: 1})
	job := &jobs.Job{
		ID: jobs.NewID(), OrgID: s.OrgID, Kind: "vip-users", SnapshotTime: at,
		Params: jobs.Params{"workspaceId": s.WorkspaceID, "mediumId": s.MediumID, "hasBirthday": hasBirthday, "profile": jobs.ProfileRFC4180, "formulaGuard": true},
	}
	plan, err := exporter.Plan(t.Context(), job)
	if err != nil || len(plan.Parts) != 1 {
		t.Fatalf("plan of one part: %d parts, %v", len(plan.Parts), err)
	}
	spec := export.Spec{Job: job, Object: job.ObjectPrefix() + "whole.csv", Rows: plan.Rows, Header: true, Final: true}
	if _, err := exporter.Write(t.Context(), spec, new(export.Progress)); err != nil {
		t.Fatal(err)
	}
	link, err := objects.SignedURL(t.Context(), spec.Object, time.Minute, "whole.csv")
	if err != nil {
		t.Fatal(err)
	}
	return e2etest.Download(t, link).Body
}
