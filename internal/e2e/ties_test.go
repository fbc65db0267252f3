package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/demo"
	"exportd/internal/e2e/e2etest"
)

// tieSize is a part and more of users with one sort key, and parts that cut them in the widest fan; a fifth
// of it with the race detector.
func tieSize() (users, partRows, smallParts int) {
	if e2etest.RaceDetector {
		return 10_201, 10_000, 100
	}
	return 51_001, 50_000, 100
}

// TestTies: one row more than a part has the LTV 0, with ids that share no prefix, the first of which begins
// with a dot. Cuts among them are ids, and not every string is one: . is not, nor is __________. The export
// has as many rows as the list says, in parts of either size.
func TestTies(t *testing.T) {
	t.Parallel()
	users, partRows, smallParts := tieSize()
	_, hosts := e2etest.Emulators(t, exportd, t.TempDir())
	s := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: 100, Messages: 1})
	ids := storeTies(t, s, users)
	c := s.Caller()
	var page struct{ Total int }
	c.Get(t, "/vip-users", s.Users("limit", "1")).Want(t, http.StatusOK).JSON(t, &page)
	if page.Total < users {
		t.Fatalf("the list has %d users, %d were stored", page.Total, users)
	}
	var before []byte
	for _, size := range []int{partRows, smallParts} {
		worker := e2etest.Worker(t, exportd, hosts, "EXPORTD_PART_ROWS="+strconv.Itoa(size))
		begun := time.Now()
		id := c.Submit(t, "vip-users", s.Users(), "Cache-Control", "no-cache")
		job := c.Await(t, id, 2*time.Minute)
		if job.State != "succeeded" || *job.TotalCount != int64(page.Total) || job.Progress.PartsTotal < 2 {
			t.Fatalf("parts of %d rows: the job is %s with %d parts: %+v", size, job.State, job.Progress.PartsTotal, job.Error)
		}
		t.Logf("%d rows in %d parts took %s", *job.TotalCount, job.Progress.PartsTotal, time.Since(begun))
		file := e2etest.Download(t, *job.CSVURL).Body
		rows, err := e2etest.ParseCSV(file)
		if err != nil {
			t.Fatal(err)
		}
		var tied []string
		for _, row := range rows[1:] {
			if row[0][len(row[0])-1] == '~' { // what the demo has ends otherwise
				tied = append(tied, row[0])
			}
		}
		if len(rows)-1 != page.Total || !slices.Equal(tied, ids) {
			t.Errorf("parts of %d rows: %d rows, %d of them tied, want %d and %d in order", size, len(rows)-1, len(tied), page.Total, len(ids))
		}
		if before != nil && string(before) != string(file) {
			t.Errorf("the file differs with the size of parts: %s", firstDifference(file, before))
		}
		before = file
		worker.Kill()
	}
}

// storeTies stores users of the LTV 0 and gives their ids in order.
func storeTies(t *testing.T, s *e2etest.Stack, users int) []string {
	t.Helper()
	target, closeTarget, err := demo.DialEmulator(t.Context(), s.Firestore, e2etest.Project)
	if err != nil {
		t.Fatal(err)
	}
	defer closeTarget()
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"
	r := rand.New(rand.NewPCG(1, 17))
	ids := []string{"..ab~", ".a~"}
	for len(ids) < users {
		b := make([]byte, 20)
		for i := range b {
			b[i] = letters[r.IntN(len(letters))]
		}
		ids = append(ids, string(b)+"~")
	}
	text := func(s string) *firestorepb.Value {
		return &firestorepb.Value{ValueType: &firestorepb.Value_StringValue{StringValue: s}}
	}
	for chunk := range slices.Chunk(ids, 500) {
		request := &firestorepb.CommitRequest{Database: target.Database}
		for i, id := range chunk {
			request.Writes = append(request.Writes, &firestorepb.Write{Operation: &firestorepb.Write_Update{Update: &firestorepb.Document{
				Name: target.Database + "/documents/VipUsers/" + id,
				Fields: map[string]*firestorepb.Value{
					"workspaceId": text(s.WorkspaceID), "mediumId": text(s.MediumID), "displayName": text(fmt.Sprint("tied ", i)),
					"ltv": {ValueType: &firestorepb.Value_DoubleValue{DoubleValue: 0}},
				},
			}}})
		}
		if _, err := target.Client.Commit(t.Context(), request); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(ids)
	return ids
}
