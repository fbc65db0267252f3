package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/genproto/googleapis/type/latlng"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/e2e/e2etest"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
)

const (
	// apiMemory and workerMemory are what deployments/kubernetes allows, with the GOMEMLIMIT there.
	apiMemory, workerMemory = 256 << 20, 384 << 20
	// largeRows are as large as documents can be.
	largeRows = 40
)

// ugly is a platform whose documents hold what they should not.
type ugly struct {
	*e2etest.Stack
	db     *firestore.Client
	worker *e2etest.Process

	refused int // by Firestore
	stored  map[string]int
}

// uglyValues are those of localcloudtest.Wrongs, and what only a platform's documents may hold.
func (u *ugly) uglyValues() map[string]any {
	deep := any("bottom")
	for range 15 { // Firestore takes 20 levels
		deep = map[string]any{`a"b\`: deep}
	}
	values := localcloudtest.Wrongs()
	for what, v := range map[string]any{
		"Infinity": math.Inf(1), "-Infinity": math.Inf(-1), "-0": math.Copysign(0, -1), "5e-324": 5e-324, "deep maps": deep, "a reference": u.db.Doc("VipUsers/x"),
		"a place": &latlng.LatLng{Latitude: -90, Longitude: 180}, "a list of 3,000": slices.Repeat([]any{"x;y\\", 1, nil}, 1000), "control characters": "\x00\x01\x1b[2J\r\n\"\u2028\ufeff",
		"900 KB of bytes": bytes.Repeat([]byte{0xff}, 900_000), "a formula": "=cmd|' /C calc'!A0", "year 9999 to the end": time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
		"a vector": firestore.Vector64{1.5, math.NaN()}, "a map of 2,000": manyKeys(2000),
	} {
		values[what] = v
	}
	return values
}

func manyKeys(n int) map[string]any {
	m := make(map[string]any, n)
	for i := range n {
		m[fmt.Sprintf("k%d", i)] = i
	}
	return m
}

// put stores a document, unless Firestore takes none such.
func (u *ugly) put(t *testing.T, name string, fields map[string]any, field string, value any) {
	t.Helper()
	collection, _, _ := strings.Cut(name, "/")
	_, err := u.db.Doc(name).Set(context.Background(), fields)
	if err == nil && field != "" {
		_, err = u.db.Doc(name).Update(context.Background(), []firestore.Update{{Path: field, Value: value}})
	}
	if status.Code(err) == codes.InvalidArgument {
		u.refused++
		return
	}
	if err != nil {
		t.Fatalf("%s: %s: %v", name, field, err)
	}
	u.stored[collection]++
}

// damage stores a document for each field of a whole one, but some, and each ugly value.
func (u *ugly) damage(t *testing.T, collection string, whole map[string]any, but ...string) {
	t.Helper()
	values, n := u.uglyValues(), 0
	for _, field := range localcloudtest.FieldPaths(whole) {
		if slices.Contains(but, field) {
			continue
		}
		for _, what := range slices.Sorted(maps.Keys(values)) {
			if field == "timestamp" && what != "missing" {
				continue // in no window: the filter is a range of times
			}
			n++
			u.put(t, fmt.Sprintf("%s/u%05d", collection, n), whole, field, values[what])
		}
	}
}

// TestUglyDocuments: whatever the platform's documents hold, lists show every row and exports write it, with
// the documented text in each cell; no route fails by it, and API and worker stay within the memory that they
// are given.
func TestUglyDocuments(t *testing.T) {
	binary, err := measured()
	if err != nil {
		t.Fatal(err)
	}
	_, hosts := e2etest.Emulators(t, binary, t.TempDir())
	s := e2etest.Services(t, binary, hosts, e2etest.Sizes{Users: 20, Messages: 20}, "GOMEMLIMIT=230MiB", "EXPORTD_RATE_KEY_PER_SECOND=0", "EXPORTD_RATE_IP_PER_SECOND=0")
	u := &ugly{Stack: s, stored: map[string]int{}, worker: e2etest.Worker(t, binary, hosts, "GOMEMLIMIT=345MiB", "EXPORTD_PART_ROWS=100")}
	u.db = hosts.OpenFirestore(t)
	day, err := time.Parse(time.DateOnly, s.To)
	if err != nil {
		t.Fatal(err)
	}
	u.put(t, "Workspaces/ugly", map[string]any{"orgId": s.OrgID, "name": "Ugly", "isVip": true, "channelIds": []string{"ugly"}}, "", nil)
	u.put(t, "Channels/ugly", map[string]any{"orgId": s.OrgID, "name": "Ugly"}, "", nil)
	u.damage(t, "VipUsers", map[string]any{
		"workspaceId": "ugly", "mediumId": "ugly", "playerId": "p", "displayName": "n", "avatarUrl": "https://a.example/x", "language": "en", "country": "GB", "ltv": 1.5, "currency": "GBP",
		"tier": "gold", "tags": []any{"a", "b"}, "firstSeenAt": day, "lastSeenAt": day, "hasBirthday": true, "birthdayMonth": 12,
		"personalInfo": map[string]any{"fullName": "A", "gender": "f", "birthday": "1990-12-10", "email": "a@example.com", "phone": "1", "city": "L"},
	}, "workspaceId", "mediumId")
	message := map[string]any{
		"workspaceId": "ugly", "mediumId": "ugly", "timestamp": day, "playerId": "p", "displayName": "n", "kind": "text", "source": "user", "text": "t", "labels": []any{"l"},
	}
	u.damage(t, "VipMessages", message, "workspaceId", "mediumId")
	for i := range largeRows {
		large := maps.Clone(message)
		large["text"], large["timestamp"] = strings.Repeat("=\"\x01é", 200_000), day.Add(time.Duration(i/4)*time.Second)
		u.put(t, fmt.Sprintf("VipMessages/large%02d", i), large, "", nil)
		large["workspaceId"], large["mediumId"] = s.OtherWorkspaceID, s.OtherMediumID
		u.put(t, fmt.Sprintf("VipMessages/other%02d", i), large, "", nil)
	}
	t.Logf("%v documents, %d that Firestore does not take", u.stored, u.refused)

	filter := url.Values{"workspaceId": {"ugly"}, "mediumId": {"ugly"}}
	window := maps.Clone(filter)
	window["from"], window["to"] = []string{s.From}, []string{s.To}
	t.Run("exports", func(t *testing.T) {
		u.same(t, "vip-users", filter)
		u.same(t, "vip-messages", window)
	})
	t.Run("crowd", func(t *testing.T) { u.crowd(t, window) })
	t.Run("directory", u.directory)
	t.Run("overview", func(t *testing.T) { u.overview(t, message, window) })
	if peak := peakRSS(t, s.Process); peak > apiMemory {
		t.Errorf("the API came to %d MiB, want at most %d", peak>>20, apiMemory>>20)
	} else {
		t.Logf("API: %d MiB at most", peak>>20)
	}
	if peak := peakRSS(t, u.worker); peak > workerMemory {
		t.Errorf("the worker came to %d MiB, want at most %d", peak>>20, workerMemory>>20)
	} else {
		t.Logf("worker: %d MiB at most", peak>>20)
	}
}

// same holds the export against the list, and each of its cells against the rule for what is stored.
func (u *ugly) same(t *testing.T, kind jobs.Kind, query url.Values) {
	t.Helper()
	listed, total := u.Caller().ListAll(t, string(kind), query)
	query = maps.Clone(query)
	query.Set("formulaGuard", "off")
	job, file := u.Caller().Export(t, string(kind), query)
	rows, err := e2etest.ParseCSV(file)
	if err != nil {
		t.Fatal(err)
	}
	rows = rows[1:]
	if len(rows) != len(listed) || total >= 0 && total != len(rows) {
		t.Fatalf("%s: %d rows are exported, %d are listed, of %d", kind, len(rows), len(listed), total)
	}
	stored := u.documents(t, kind)
	list := map[jobs.Kind]string{"vip-users": "tags", "vip-messages": "labels"}[kind]
	column := slices.Index(strings.Split(e2etest.Header(kind), ","), list)
	for i, row := range rows {
		fields, ok := stored[row[0]]
		if want, _ := csvrowtest.Cells(kind, row[0], fields, false); !ok || !slices.Equal(row, want) {
			t.Errorf("%s %s is exported as %.300q, want %.300q", kind, row[0], row, want)
		}
		if _, isList := fields[list].([]any); !isList { // listed as a list of one
			listed[i][column] = row[column]
		}
		if !slices.Equal(row, listed[i]) {
			t.Errorf("%s %s is exported as %.300q and listed as %.300q", kind, row[0], row, listed[i])
		}
	}
	t.Logf("%s: %d rows of %d documents in %d parts, %d bytes", kind, len(rows), len(stored), job.Progress.PartsTotal, len(file))
	if len(rows) < 150 || job.Progress.PartsTotal < 2 {
		t.Errorf("%s: %d rows in %d parts", kind, len(rows), job.Progress.PartsTotal)
	}
}

// documents are those of the ugly workspace, decoded to what the judge knows.
func (u *ugly) documents(t *testing.T, kind jobs.Kind) map[string]map[string]any {
	t.Helper()
	collection := map[jobs.Kind]string{"vip-users": "VipUsers", "vip-messages": "VipMessages"}[kind]
	stream, err := dialFirestore(t, u.Firestore).RunQuery(asOwner(t.Context()), &firestorepb.RunQueryRequest{
		Parent: "projects/" + e2etest.Project + "/databases/(default)/documents",
		QueryType: &firestorepb.RunQueryRequest_StructuredQuery{StructuredQuery: &firestorepb.StructuredQuery{
			From: []*firestorepb.StructuredQuery_CollectionSelector{{CollectionId: collection}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]any{}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if fields := e2etest.Decode(r.GetDocument().GetFields()); fields["workspaceId"] == "ugly" {
			out[path.Base(r.GetDocument().GetName())] = fields
		}
	}
}

// crowd asks for the largest pages side by side, as two orgs.
func (u *ugly) crowd(t *testing.T, window url.Values) {
	other := maps.Clone(window)
	other.Set("workspaceId", u.OtherWorkspaceID)
	other.Set("mediumId", u.OtherMediumID)
	var asking sync.WaitGroup
	var pages, later, rows atomic.Int64
	for i := range 24 {
		c, query := u.Caller(), maps.Clone(window)
		if i%3 == 0 {
			c, query = u.Other(), maps.Clone(other)
		}
		query.Set("limit", "200")
		encoding := []string{"gzip", "identity"}[i%2]
		asking.Go(func() {
			for range 4 {
				r, err := c.Try(t.Context(), http.MethodGet, "/vip-messages", query, nil, "Accept-Encoding", encoding)
				switch {
				case err != nil || r.Status != http.StatusOK && r.Status != http.StatusTooManyRequests:
					t.Errorf("a page beside others: %d, %v", r.Status, err)
				case r.Status == http.StatusTooManyRequests:
					later.Add(1)
				default:
					pages.Add(1)
					rows.Add(int64(len(r.Body)))
				}
			}
		})
	}
	asking.Wait()
	t.Logf("%d pages of %d bytes in all, %d told to come later", pages.Load(), rows.Load(), later.Load())
	if later.Load() > pages.Load() { // after 5 s without a place, which a busy machine may take
		t.Errorf("%d of %d requests were refused", later.Load(), later.Load()+pages.Load())
	}
}

// directory damages workspaces and channels: lists show what there is, and the gate lets through or refuses.
func (u *ugly) directory(t *testing.T) {
	values := u.uglyValues()
	for _, kind := range []struct {
		collection string
		whole      map[string]any
	}{
		{"Workspaces", map[string]any{"orgId": u.OrgID, "name": "n", "isVip": true, "channelIds": []any{"ugly"}}},
		{"Channels", map[string]any{"orgId": u.OrgID, "name": "n", "platform": "web", "workspaceIds": []any{"ugly"}}},
	} {
		answers := map[int]int{}
		for field := range kind.whole {
			for what, v := range values {
				if s, ok := v.(string); ok && len(s) > 1<<19 && field != "name" {
					continue // one such is a list's, more are more than one holds
				}
				if b, ok := v.([]byte); ok && len(b) > 1<<19 {
					continue
				}
				id := strings.NewReplacer(" ", "-", ".", "-", "/", "-").Replace(field + "-" + what)
				u.put(t, kind.collection+"/"+id, kind.whole, field, v)
				query := url.Values{"workspaceId": {"ugly"}, "mediumId": {id}, "limit": {"1"}}
				if kind.collection == "Workspaces" {
					query = url.Values{"workspaceId": {id}, "mediumId": {"ugly"}, "limit": {"1"}}
				}
				r := u.Caller().Get(t, "/vip-users", query)
				answers[r.Status]++
				if r.Status >= 500 || r.Status == 200 && (field == "orgId" || field == "isVip" && what != "true") {
					t.Errorf("%s of a %s that is %s: %d", field, kind.collection, what, r.Status)
				}
				r = u.Caller().Get(t, "/channels", url.Values{"workspaceId": {query.Get("workspaceId")}})
				if r.Status != http.StatusOK && r.Status != http.StatusNotFound {
					t.Errorf("channels with %s of a %s that is %s: %d", field, kind.collection, what, r.Status)
				}
			}
		}
		r := u.Caller().Get(t, "/"+strings.ToLower(kind.collection), nil).Want(t, http.StatusOK)
		t.Logf("%s: the gate answers %v, the list %d bytes", kind.collection, answers, len(r.Body))
	}
	// A channel list of a document's size, asked for by many.
	u.put(t, "Workspaces/ugly", map[string]any{"orgId": u.OrgID, "isVip": true, "channelIds": slices.Repeat([]any{"ugly"}, 80_000)}, "", nil)
	var asking sync.WaitGroup
	for range 16 {
		asking.Go(func() {
			for range 4 {
				if r, err := u.Caller().Try(t.Context(), http.MethodGet, "/vip-users", url.Values{"workspaceId": {"ugly"}, "mediumId": {"ugly"}, "limit": {"1"}}, nil); err != nil || r.Status != http.StatusOK {
					t.Errorf("a list behind a workspace of 80,000 channels: %d, %v", r.Status, err)
				}
			}
		})
	}
	asking.Wait()
}

// overview counts labels of messages that hold what is none, or very many.
func (u *ugly) overview(t *testing.T, message map[string]any, window url.Values) {
	r := u.Caller().Get(t, "/vip-labels/overview", window).Want(t, http.StatusOK)
	t.Logf("an overview of %d bytes", len(r.Body))
	day := message["timestamp"].(time.Time)
	for i := range 20 { // Firestore takes 40,000 entries of indexes a document, three a label
		labels := make([]any, 10_000)
		for k := range labels {
			labels[k] = fmt.Sprintf("%050d", i*len(labels)+k)
		}
		many := maps.Clone(message)
		many["labels"], many["timestamp"] = labels, day.Add(-48*time.Hour)
		u.put(t, fmt.Sprintf("VipMessages/labels%02d", i), many, "", nil)
	}
	if u.refused > 0 {
		t.Errorf("Firestore takes %d of the documents not", u.refused)
	}
	window = maps.Clone(window)
	window.Set("from", u.From+"T00:00:01Z") // the other answer is remembered
	if r := u.Caller().Get(t, "/vip-labels/overview", window); r.Status != http.StatusUnprocessableEntity {
		t.Errorf("an overview of 200,000 labels of 50 bytes = %d with %d bytes", r.Status, len(r.Body))
	}
}
