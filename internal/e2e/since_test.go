package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/proto"

	"exportd/internal/demo"
	"exportd/internal/e2e/e2etest"
)

var (
	sinceRows    = flag.Int("since-rows", 2000, "users of TestSince")
	sinceChanges = flag.Int("since-changes", 300, "changes of TestSince in each of its two nights")
)

// TestSince: a file of changes is what a naive comparison of two files of all rows gives, night after night,
// each against the one before, for every kind of change; parts, workers that are killed and formats make no
// difference to it. `make since` has it with 500,000 rows and 10,000 changes.
func TestSince(t *testing.T) {
	t.Parallel()
	_, hosts := e2etest.Emulators(t, exportd, t.TempDir(), "--control", "127.0.0.1:0")
	s := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: 200, Messages: 1}, "EXPORTD_RATE_KEY_PER_SECOND=0")
	settings := []string{"EXPORTD_PART_ROWS=" + strconv.Itoa(*sinceRows/16), "EXPORTD_LEASE_SECONDS=3"}
	worker := e2etest.Worker(t, exportd, hosts, settings...)
	n := newChanging(t, s)
	n.fill(*sinceRows)
	before, rows := n.export(s.Users())
	beforeJSON, _ := n.submitted(s.Users("format", "jsonl", "compression", "gzip"))
	if *sinceRows >= 1000 && before.Progress.PartsTotal < 4 {
		t.Fatalf("the first export has %d parts", before.Progress.PartsTotal)
	}
	for night := range 2 {
		n.change(*sinceChanges)
		quote, read := n.quote(before.JobID), s.Counters(t).DocumentsRead
		begun := time.Now()
		id := s.Caller().Submit(t, "vip-users", s.Users("since", before.JobID))
		if night == 0 {
			for job := s.Caller().Job(t, id, ""); job.Progress.PartsDone < 3 && !job.Ended(); job = s.Caller().Job(t, id, "") {
				runtime.Gosched()
			}
			worker.Kill()
			worker = e2etest.Worker(t, exportd, hosts, settings...)
		}
		job := s.Caller().Await(t, id, 10*time.Minute)
		took := time.Since(begun)
		read = s.Counters(t).DocumentsRead - read
		told := n.told(job)
		_, now := n.export(s.Users())
		want := naive(rows, now)
		if !maps.EqualFunc(told, want, slices.Equal) {
			t.Errorf("night %d: %d changes are told, a comparison gives %d: %s", night, len(told), len(want), firstUnlike(told, want))
		}
		counts := n.counts(job)
		t.Logf("night %d: %v of %d and %d rows in %s, of which composing and comparing took %s; %d parts, %d bytes; %d documents read, %d more than the snapshot has rows; quoted %d", night, counts,
			len(rows), len(now), took, n.composing(job.JobID), job.Progress.PartsTotal, *job.SizeBytes, read, read-int64(len(now)), quote.EstimatedReads)
		if quote.Rows != int64(len(now)) || quote.EarlierRows != int64(len(rows)) || quote.BytesExact {
			t.Errorf("night %d: the quote is %+v", night, quote)
		}
		// What rescuers read meanwhile is more the longer it takes; that only rows of one snapshot are read,
		// TestChanges of package export knows.
		if night > 0 && read < quote.EstimatedReads {
			t.Errorf("night %d: %d documents were read, quoted were %d", night, read, quote.EstimatedReads)
		}
		for kind, c := range counts {
			if *sinceChanges >= 100 && fmt.Sprint(c) == "0" {
				t.Errorf("night %d: nothing is %s", night, kind)
			}
		}
		before, rows = job, now
	}
	n.jsonl(beforeJSON.JobID, s.Users("format", "jsonl", "compression", "gzip"))
	n.refused(before)
}

// changing is a service whose users change.
type changing struct {
	*testing.T
	s      *e2etest.Stack
	target demo.Target
	r      *rand.Rand
	users  map[string]map[string]*firestorepb.Value
	added  int
}

func newChanging(t *testing.T, s *e2etest.Stack) *changing {
	target, closeTarget, err := demo.DialEmulator(t.Context(), s.Firestore, e2etest.Project)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = closeTarget() })
	return &changing{T: t, s: s, target: target, r: rand.New(rand.NewPCG(5, 17)), users: map[string]map[string]*firestorepb.Value{}}
}

func textValue(s string) *firestorepb.Value {
	return &firestorepb.Value{ValueType: &firestorepb.Value_StringValue{StringValue: s}}
}

func doubleValue(f float64) *firestorepb.Value {
	return &firestorepb.Value{ValueType: &firestorepb.Value_DoubleValue{DoubleValue: f}}
}

// user is a document of a user, with much that is nasty.
func (n *changing) user() map[string]*firestorepb.Value {
	texts := []string{"Ada", "", "a,b", "say \"hi\"", "two\r\nlines", "=1+1", "'", "\n\"", "żółć", "x\x00y"}
	pick := func() *firestorepb.Value { return textValue(texts[n.r.IntN(len(texts))]) }
	return map[string]*firestorepb.Value{
		"workspaceId": textValue(n.s.WorkspaceID), "mediumId": textValue(n.s.MediumID), "displayName": pick(), "playerId": pick(), "tier": pick(),
		"ltv":          doubleValue(float64(n.r.IntN(2000)) / 4),
		"tags":         {ValueType: &firestorepb.Value_ArrayValue{ArrayValue: &firestorepb.ArrayValue{Values: []*firestorepb.Value{pick(), pick()}}}},
		"personalInfo": {ValueType: &firestorepb.Value_MapValue{MapValue: &firestorepb.MapValue{Fields: map[string]*firestorepb.Value{"city": pick(), "email": pick()}}}},
	}
}

// write stores users, or deletes those that are nil.
func (n *changing) write(users map[string]map[string]*firestorepb.Value) {
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(users)), 500) {
		request := &firestorepb.CommitRequest{Database: n.target.Database}
		for _, id := range ids {
			name, fields := n.target.Database+"/documents/VipUsers/"+id, users[id]
			w := &firestorepb.Write{Operation: &firestorepb.Write_Update{Update: &firestorepb.Document{Name: name, Fields: fields}}}
			if fields == nil {
				w = &firestorepb.Write{Operation: &firestorepb.Write_Delete{Delete: name}}
				delete(n.users, id)
			} else {
				n.users[id] = fields
			}
			request.Writes = append(request.Writes, w)
		}
		if _, err := n.target.Client.Commit(n.Context(), request); err != nil {
			n.Fatal(err)
		}
	}
}

func (n *changing) fill(rows int) {
	users := map[string]map[string]*firestorepb.Value{}
	for i := range rows {
		id := fmt.Sprintf("n%05d", i)
		if i%50 == 0 {
			id = fmt.Sprintf("n\",=%d", i)
		}
		users[id] = n.user()
	}
	n.write(users)
}

// change makes changes of every kind: a field of each type, the sort key, its type, or it is gone; a user
// leaves, comes back as another, is new, is written as it was.
func (n *changing) change(changes int) {
	ids := slices.Sorted(maps.Keys(n.users))
	n.r.Shuffle(len(ids), func(i, k int) { ids[i], ids[k] = ids[k], ids[i] })
	users := map[string]map[string]*firestorepb.Value{}
	for i := range changes {
		id := ids[i]
		fields := proto.Clone(&firestorepb.Document{Fields: n.users[id]}).(*firestorepb.Document).Fields
		switch i % 12 {
		case 0:
			fields = nil
		case 1:
			fields = n.user()
		case 2, 3:
			fields["ltv"] = doubleValue(float64(n.r.IntN(2000)) / 4)
		case 4:
			fields["ltv"] = textValue("12")
		case 5:
			delete(fields, "ltv")
		case 6:
			fields["workspaceId"] = textValue("another")
		case 7:
			fields["displayName"] = textValue(fmt.Sprintf("changed %d", i))
		case 8:
			fields["tags"] = textValue("none")
		case 9:
			fields["personalInfo"].GetMapValue().Fields["email"] = doubleValue(float64(i))
		case 10: // as it was
		case 11:
			n.added++
			id, fields = fmt.Sprintf("new%d", n.added), n.user()
		}
		users[id] = fields
	}
	n.write(users)
}

// submitted is an export that has ended, with its file.
func (n *changing) submitted(query url.Values) (e2etest.Job, []byte) {
	n.Helper()
	id := n.s.Caller().Submit(n.T, "vip-users", query, "Cache-Control", "no-cache")
	job := n.s.Caller().Await(n.T, id, 10*time.Minute)
	if job.State != "succeeded" {
		n.Fatalf("the job is %s: %+v", job.State, job.Error)
	}
	return job, e2etest.Download(n.T, *job.CSVURL).Body
}

// export gives the rows of all users by id.
func (n *changing) export(query url.Values) (e2etest.Job, map[string][]string) {
	n.Helper()
	job, file := n.submitted(query)
	lines, err := e2etest.ParseCSV(file)
	if err != nil {
		n.Fatal(err)
	}
	rows := map[string][]string{}
	for _, cells := range lines[1:] {
		rows[cells[0]] = cells
	}
	if len(rows) != len(lines)-1 {
		n.Fatalf("%d ids in %d rows", len(rows), len(lines)-1)
	}
	return job, rows
}

// told is a file of changes, by id, which it has once, and whose number the job tells.
func (n *changing) told(job e2etest.Job) map[string][]string {
	n.Helper()
	if job.State != "succeeded" {
		n.Fatalf("the job is %s: %+v", job.State, job.Error)
	}
	lines, err := e2etest.ParseCSV(e2etest.Download(n.T, *job.CSVURL).Body)
	if err != nil || strings.Join(lines[0], ",") != "change,"+e2etest.Header("vip-users") {
		n.Fatalf("the file begins with %q: %v", lines[0], err)
	}
	told := map[string][]string{}
	for _, cells := range lines[1:] {
		told[cells[1]] = cells
	}
	if len(told) != len(lines)-1 || int64(len(told)) != *job.TotalCount {
		n.Errorf("%d ids in %d rows, told are %d", len(told), len(lines)-1, *job.TotalCount)
	}
	return told
}

// naive compares two files that are in memory.
func naive(before, now map[string][]string) map[string][]string {
	want := map[string][]string{}
	for id, cells := range now {
		switch was, there := before[id]; {
		case !there:
			want[id] = append([]string{"added"}, cells...)
		case !slices.Equal(was, cells):
			want[id] = append([]string{"changed"}, cells...)
		}
	}
	for id, cells := range before {
		if now[id] == nil {
			want[id] = append([]string{"removed"}, cells...)
		}
	}
	return want
}

func firstUnlike(a, b map[string][]string) string {
	for _, id := range slices.Sorted(maps.Keys(b)) {
		if !slices.Equal(a[id], b[id]) {
			return fmt.Sprintf("%q is %q, not %q", id, b[id], a[id])
		}
	}
	for _, id := range slices.Sorted(maps.Keys(a)) {
		if b[id] == nil {
			return fmt.Sprintf("%q is %q, and should not be", id, a[id])
		}
	}
	return ""
}

// counts are the changes of a job, and nothing is wrong with their sums.
func (n *changing) counts(job e2etest.Job) map[string]any {
	n.Helper()
	var v struct{ Changes map[string]any }
	n.s.Caller().Get(n.T, "/exports/"+job.JobID, nil).Want(n.T, http.StatusOK).JSON(n.T, &v)
	number := func(name string) int64 {
		i, err := strconv.ParseInt(fmt.Sprint(v.Changes[name]), 10, 64)
		if err != nil {
			n.Fatalf("%s of %v: %v", name, v.Changes, err)
		}
		return i
	}
	kept := number("changed") + number("unchanged")
	var m struct {
		Rows        int64
		Parts       []struct{ Rows int64 }
		TableSchema struct{ Columns []struct{ Name string } }
		Changes     map[string]any
	}
	n.s.Caller().Get(n.T, "/exports/"+job.JobID+"/manifest", nil).Want(n.T, http.StatusOK).JSON(n.T, &m)
	if m.Rows != *job.TotalCount || len(m.Parts) != 1 || m.Parts[0].Rows != m.Rows || m.TableSchema.Columns[0].Name != "change" || !maps.Equal(m.Changes, v.Changes) {
		n.Errorf("the manifest is %+v", m)
	}
	if number("rowsBefore") != kept+number("removed") || number("rowsAfter") != kept+number("added") || *job.TotalCount != number("added")+number("changed")+number("removed") {
		n.Errorf("%v do not add up to %d", v.Changes, *job.TotalCount)
	}
	return v.Changes
}

// jsonl: what a compressed file of JSON tells is what has changed in two others.
func (n *changing) jsonl(since string, query url.Values) {
	n.Helper()
	rows := func(query url.Values) map[string]map[string]any {
		_, file := n.submitted(query)
		gz, err := gzip.NewReader(bytes.NewReader(file))
		if err != nil {
			n.Fatal(err)
		}
		plain, err := io.ReadAll(gz)
		if err != nil {
			n.Fatal(err)
		}
		rows := map[string]map[string]any{}
		for line := range bytes.Lines(plain) {
			var row map[string]any
			if err := json.Unmarshal(line, &row); err != nil {
				n.Fatalf("%q: %v", line, err)
			}
			rows[row["id"].(string)] = row
		}
		return rows
	}
	now, told := rows(query), rows(with(query, "since", since))
	kinds := map[any]int{}
	for id, row := range told {
		kind := row["change"]
		kinds[kind]++
		delete(row, "change")
		if is, there := now[id]; there != (kind != "removed") || there && fmt.Sprint(is) != fmt.Sprint(row) {
			n.Errorf("%q is %v, told is that %v was %v", id, is, row, kind)
		}
	}
	if *sinceChanges >= 100 && (len(kinds) != 3 || len(told) < *sinceChanges) {
		n.Errorf("changes of JSONL are %v", kinds)
	}
}

// refused: what cannot be compared is refused, with what is wrong, and another org learns nothing.
func (n *changing) refused(base e2etest.Job) {
	c := n.s.Caller()
	deleted, _ := n.submitted(n.s.Users("hasBirthday", "true"))
	c.Do(n.T, http.MethodDelete, "/exports/"+deleted.JobID, nil, nil).Want(n.T, http.StatusNoContent)
	nobody := strings.Repeat("a", 26)
	for name, q := range map[string]struct {
		query url.Values
		says  string
	}{
		"no id":              {n.s.Users("since", "yesterday"), "must be the jobId of an export"},
		"nobody's":           {n.s.Users("since", nobody), "must be the jobId of an export of yours"},
		"deleted":            {n.s.Users("since", deleted.JobID, "hasBirthday", "true"), "this one's is gone"},
		"other filters":      {n.s.Users("since", base.JobID, "hasBirthday", "true"), "there hasBirthday is not given"},
		"other columns":      {n.s.Users("since", base.JobID, "columns", "id,ltv"), "there columns is not given"},
		"columns without id": {n.s.Users("since", base.JobID, "columns", "ltv"), "needs the column id"},
		"Parquet":            {n.s.Users("since", base.JobID, "format", "parquet"), "is not allowed with format=parquet"},
		"Excel":              {n.s.Users("since", base.JobID, "profile", "excel"), "is not allowed with profile=excel"},
	} {
		r := c.Get(n.T, "/vip-users/export", q.query).Want(n.T, http.StatusUnprocessableEntity)
		var text string
		if text = string(r.Body); !strings.Contains(text, q.says) || !strings.Contains(text, `"since"`) {
			n.Errorf("%s: %s", name, text)
		}
	}
	r := c.Get(n.T, "/vip-messages/export", n.s.Messages("since", base.JobID)).Want(n.T, http.StatusUnprocessableEntity)
	if !strings.Contains(string(r.Body), "this one is of vip-users") {
		n.Errorf("another kind: %s", r.Body)
	}
}

// quotedChanges is what a file of changes would come to.
type quotedChanges struct {
	Rows, EarlierRows, EstimatedReads int64
	BytesExact                        bool
}

func (n *changing) quote(since string) (q quotedChanges) {
	n.Helper()
	n.s.Caller().Get(n.T, "/vip-users/export", n.s.Users("since", since, "dryRun", "true")).Want(n.T, http.StatusOK).JSON(n.T, &q)
	return q
}

// composing is how long a worker composed all rows and compared them.
func (n *changing) composing(id string) time.Duration {
	n.Helper()
	var v struct {
		Job struct{ Spent struct{ ComposeMs int64 } }
	}
	n.s.Operator().Get(n.T, "/ops/jobs/"+id, nil).Want(n.T, http.StatusOK).JSON(n.T, &v)
	return time.Duration(v.Job.Spent.ComposeMs) * time.Millisecond
}
