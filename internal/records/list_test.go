package records

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"github.com/google/go-cmp/cmp"

	"exportd/internal/dataset"
	"exportd/internal/localcloud"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/vip"
	"exportd/internal/vip/wire"
	"exportd/jobs"
)

var start = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)

func messages(change ...func(jobs.Params)) vip.Query {
	f := jobs.Params{"workspaceId": "w", "mediumId": "c", "from": start, "to": start.Add(time.Hour)}
	for _, c := range change {
		c(f)
	}
	return dataset.VIPMessages.Query("o", f)
}

func users(change ...func(jobs.Params)) vip.Query {
	f := jobs.Params{"workspaceId": "w", "mediumId": "c"}
	for _, c := range change {
		c(f)
	}
	return dataset.VIPUsers.Query("o", f)
}

// open starts an embedded cloud and a reader of its database.
func open(tb testing.TB, changes ...func(*localcloud.Config)) (*localcloudtest.Cloud, *Reader) {
	tb.Helper()
	cloud := localcloudtest.Start(tb, changes...)
	r, err := Open(tb.Context(), Config{ProjectID: localcloudtest.Project, Emulator: cloud.Endpoints().Firestore, backoff: time.Millisecond})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = r.Close() })
	return cloud, r
}

// store writes documents with the official client.
func store(tb testing.TB, client *firestore.Client, docs map[string]map[string]any) {
	tb.Helper()
	w := client.BulkWriter(tb.Context())
	var writes []*firestore.BulkWriterJob
	for path, fields := range docs {
		write, err := w.Set(client.Doc(path), fields)
		if err != nil {
			tb.Fatal(err)
		}
		writes = append(writes, write)
	}
	w.End()
	for _, write := range writes {
		if _, err := write.Results(); err != nil {
			tb.Fatal(err)
		}
	}
}

var contentTypes = []string{"text", "postback", "attachment", "other"}

// sample is 400 users and 600 messages with ties, and strangers beside them.
func sample() map[string]map[string]any {
	docs := make(map[string]map[string]any)
	for i := range 400 {
		ltv := any(float64(i%7) * 12.5)
		switch i % 50 {
		case 10:
			ltv = int64(25) // the same key as 25.0
		case 20:
			ltv = "mistyped"
		case 30:
			ltv = math.NaN()
		case 40:
			ltv = nil
		}
		docs[fmt.Sprintf("VipUsers/u%03d", i)] = map[string]any{
			"workspaceId": "w", "mediumId": "c", "ltv": ltv, "playerId": fmt.Sprint("p", i),
			"hasBirthday": i%3 > 0, "birthdayMonth": i % 3 * (i%12 + 1),
		}
	}
	for i := range 600 {
		docs[fmt.Sprintf("VipMessages/m%03d", i)] = map[string]any{
			"workspaceId": "w", "mediumId": "c", "timestamp": start.Add(time.Duration(i/40) * time.Second), "kind": contentTypes[i%4],
			"labels": []any{"all", fmt.Sprint("l", i%5), fmt.Sprint("l", i%5), "", 7, nil}[:i%7], "text": fmt.Sprint("text ", i),
		}
	}
	for i, other := range []map[string]any{
		{"workspaceId": "x", "mediumId": "c"}, {"workspaceId": "w", "mediumId": "x"},
		{"workspaceId": "w", "mediumId": "c", "timestamp": start.Add(time.Hour)}, // To is exclusive
		{"workspaceId": "w", "mediumId": "c", "timestamp": start.Add(-1)},
		{"workspaceId": "w", "mediumId": "c"},
	} {
		for key, v := range map[string]any{"timestamp": start, "ltv": 1.0} {
			if _, ok := other[key]; !ok && i != 4 {
				other[key] = v
			}
		}
		docs[fmt.Sprintf("VipMessages/other%d", i)] = other
		if i < 2 || i == 4 {
			docs[fmt.Sprintf("VipUsers/other%d", i)] = other
		}
	}
	return docs
}

// queries is every combination of filters.
func queries() map[string]vip.Query {
	label := func(f jobs.Params) { f["label"] = "l3" }
	kind := func(f jobs.Params) { f["contentType"] = "postback" }
	return map[string]vip.Query{
		"users":            users(),
		"birthday":         users(func(f jobs.Params) { f["hasBirthday"] = true }),
		"month":            users(func(f jobs.Params) { f["birthdayMonth"] = int64(4) }),
		"birthday, month":  users(func(f jobs.Params) { f["hasBirthday"], f["birthdayMonth"] = true, int64(4) }),
		"messages":         messages(),
		"label":            messages(label),
		"kind":             messages(kind),
		"label, kind":      messages(label, kind),
		"nobody's":         users(func(f jobs.Params) { f["mediumId"] = "nobody" }),
		"a second":         messages(func(f jobs.Params) { f["from"], f["to"] = start.Add(time.Second), start.Add(2*time.Second) }),
		"nothing within":   messages(func(f jobs.Params) { f["from"] = start.Add(59 * time.Minute) }),
		"a microsecond":    messages(func(f jobs.Params) { f["to"] = start.Add(time.Microsecond) }),
		"unknown label":    messages(func(f jobs.Params) { f["label"] = "nope" }),
		"no content of it": messages(func(f jobs.Params) { f["contentType"] = "video" }),
	}
}

// official returns the ids of a query's rows as the official client finds them.
func official(tb testing.TB, client *firestore.Client, q vip.Query) []string {
	tb.Helper()
	fq := client.Collection(q.Collection).Query
	for _, c := range q.Conditions {
		fq = fq.Where(c.Field, map[vip.Op]string{vip.Equal: "==", vip.ArrayContains: "array-contains"}[c.Op], c.Value)
	}
	if !q.From.IsZero() {
		fq = fq.Where(q.SortField, ">=", q.From).Where(q.SortField, "<", q.To)
	}
	snapshots, err := fq.OrderBy(q.SortField, firestore.Desc).OrderBy(firestore.DocumentID, firestore.Asc).Documents(tb.Context()).GetAll()
	if err != nil {
		tb.Fatal(err)
	}
	var ids []string
	for _, s := range snapshots {
		ids = append(ids, s.Ref.ID)
	}
	return ids
}

// idRow is a row that is its id.
type idRow struct{}

func (idRow) AppendRow(dst, doc []byte) ([]byte, error) {
	fields := wire.Document(doc)
	for fields.Next() {
	}
	return append(dst, wire.ID(fields.Name)...), fields.Err()
}

func pageIDs(p Page) (ids []string) {
	for _, row := range p.Rows {
		ids = append(ids, string(row))
	}
	return ids
}

// TestQueriesAgree: list, export, count and the official client see the same rows in the same order, for
// every combination of filters. The embedded server refuses queries without an index, so this also covers the
// index file.
func TestQueriesAgree(t *testing.T) {
	t.Parallel()
	cloud, r := open(t)
	store(t, cloud.Firestore, sample())
	at, err := r.SnapshotTime(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, q := range queries() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := official(t, cloud.Firestore, q)
			if n, as, err := r.Count(t.Context(), q, vip.Range{}, at); err != nil || n != int64(len(want)) || !as.Equal(at) {
				t.Errorf("Count() = %d at %s, %v, want %d at %s", n, as, err, len(want), at)
			}
			var scanned []string
			var places []vip.Position
			err := r.Scan(t.Context(), q, vip.Range{}, at, Options{PageSize: 37}, func(doc []byte) error {
				p, err := q.PositionOf(doc)
				places, scanned = append(places, p), append(scanned, p.ID)
				return err
			})
			if diff := cmp.Diff(want, scanned); err != nil || diff != "" {
				t.Errorf("Scan() error %v, rows (-want +got):\n%s", err, diff)
			}
			var listed []string
			for after := (*vip.Position)(nil); ; {
				p, err := r.Page(t.Context(), q, after, 0, 41, maxPage, idRow{})
				if err != nil {
					t.Fatal(err)
				}
				listed = append(listed, pageIDs(p)...)
				if after = p.Next; after == nil {
					break
				}
			}
			if diff := cmp.Diff(want, listed); diff != "" {
				t.Errorf("pages of 41 (-want +got):\n%s", diff)
			}
			ranges(t, r, q, at, places)
		})
	}
}

// TestNarrowIsWithinWide: what a filter that implies another gives is among what that one gives, also of
// documents that contradict themselves.
func TestNarrowIsWithinWide(t *testing.T) {
	t.Parallel()
	cloud, r := open(t)
	docs := map[string]map[string]any{}
	for i, known := range []any{true, false, nil, "true", 1} {
		for _, month := range []any{3, 4, nil} {
			docs[fmt.Sprintf("VipUsers/%d-%v", i, month)] = map[string]any{"workspaceId": "w", "mediumId": "c", "ltv": i, "hasBirthday": known, "birthdayMonth": month}
		}
	}
	store(t, cloud.Firestore, docs)
	ids := func(p jobs.Params) []string {
		page, err := r.Page(t.Context(), users(func(q jobs.Params) { maps.Copy(q, p) }), nil, 0, 100, maxPage, idRow{})
		if err != nil {
			t.Fatal(err)
		}
		return pageIDs(page)
	}
	wide := ids(jobs.Params{"hasBirthday": true})
	for _, p := range []jobs.Params{{"birthdayMonth": int64(3)}, {"birthdayMonth": int64(3), "hasBirthday": true}} {
		narrow := ids(p)
		if !slices.Equal(narrow, []string{"0-3"}) || !slices.Contains(wide, narrow[0]) || len(wide) != 3 {
			t.Errorf("%v gives %v, hasBirthday=true %v", p, narrow, wide)
		}
	}
}

// ranges cuts a query's rows anywhere: the parts are disjoint and together all.
func ranges(t *testing.T, r *Reader, q vip.Query, at time.Time, places []vip.Position) {
	t.Helper()
	var cuts []*vip.Position
	for i := 17; i < len(places); i += 53 {
		p, err := vip.ParsePosition(places[i].String())
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			p.ID = "" // before every row of that key
		}
		if len(cuts) == 0 || cuts[len(cuts)-1].String() != p.String() {
			cuts = append(cuts, &p)
		}
	}
	cuts = append(cuts, nil)
	var got []string
	var total int64
	var from *vip.Position
	for _, to := range cuts {
		rng := vip.Range{From: from, To: to}
		ids, err := scanIDs(t.Context(), r, q, rng, Options{PageSize: 19})
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, ids...)
		n, _, err := r.Count(t.Context(), q, rng, at)
		if err != nil || n != int64(len(ids)) {
			t.Errorf("Count(%v) = %d, %v, want %d", rng, n, err, len(ids))
		}
		first, err := r.First(t.Context(), q, rng, at)
		if err != nil || (first == nil) != (len(ids) == 0) || first != nil && first.ID != ids[0] {
			t.Errorf("First(%v) = %v, %v, want %v", rng, first, err, ids[:min(1, len(ids))])
		}
		total += n
		from = to
	}
	if total != int64(len(places)) || len(places) > 0 && !slices.EqualFunc(got, places, func(id string, p vip.Position) bool { return id == p.ID }) {
		t.Errorf("parts have %d rows, want the %d of the query in order", total, len(places))
	}
}

// maxPage is more bytes than any page of these tests has.
const maxPage = 64 << 20

func TestPage(t *testing.T) {
	t.Parallel()
	cloud, r := open(t)
	store(t, cloud.Firestore, sample())
	want := official(t, cloud.Firestore, users())
	for _, test := range []struct{ offset, limit int }{{0, 1}, {0, 200}, {3, 5}, {395, 5}, {395, 4}, {395, 6}, {400, 5}, {1000, 5}} {
		p, err := r.Page(t.Context(), users(), nil, test.offset, test.limit, maxPage, idRow{})
		if err != nil {
			t.Fatal(err)
		}
		from, to := min(test.offset, len(want)), min(test.offset+test.limit, len(want))
		if got := pageIDs(p); !slices.Equal(got, want[from:to]) {
			t.Errorf("Page(offset %d, limit %d) = %v, want %v", test.offset, test.limit, got, want[from:to])
		}
		if hasNext := p.Next != nil; hasNext != (to < len(want)) {
			t.Errorf("Page(offset %d, limit %d).Next is there: %v", test.offset, test.limit, hasNext)
		}
	}
	// before takes a time: strictly older rows.
	q := messages()
	before, err := vip.OlderThan(time.Date(2026, 6, 1, 0, 0, 3, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	p, err := r.Page(t.Context(), q, &before, 0, 50, maxPage, idRow{})
	if err != nil || string(p.Rows[0]) != "m080" {
		t.Errorf("Page(before 00:00:03) begins with %+v, %v; want m080", p.Rows[0], err)
	}
}

// TestSnapshot: what is written after a count is not seen at the time of the count.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	cloud, r := open(t)
	store(t, cloud.Firestore, sample())
	n, at, err := r.Count(t.Context(), users(), vip.Range{}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	want := official(t, cloud.Firestore, users())
	w := cloud.Firestore.BulkWriter(t.Context())
	for i := range 100 {
		_, _ = w.Delete(cloud.Firestore.Doc(fmt.Sprintf("VipUsers/u%03d", i)))
		_, _ = w.Set(cloud.Firestore.Doc(fmt.Sprintf("VipUsers/new%03d", i)), map[string]any{"workspaceId": "w", "mediumId": "c", "ltv": 30.0})
		_, _ = w.Update(cloud.Firestore.Doc(fmt.Sprintf("VipUsers/u%03d", 100+i)), []firestore.Update{{Path: "ltv", Value: 1000.0}})
	}
	w.End()
	if again, _, err := r.Count(t.Context(), users(), vip.Range{}, at); err != nil || again != n || n != int64(len(want)) {
		t.Errorf("Count(at) = %d, %v, want %d as before", again, err, len(want))
	}
	var got []string
	q := users()
	err = r.Scan(t.Context(), q, vip.Range{}, at, Options{PageSize: 50}, func(doc []byte) error {
		_, id, err := q.Keys().Of(doc)
		got = append(got, string(id))
		return err
	})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("Scan(at) = %d rows, %v, want the %d of the snapshot", len(got), err, len(want))
	}
	if slices.Equal(official(t, cloud.Firestore, users()), want) {
		t.Error("nothing was written")
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	cloud, r := open(t, func(c *localcloud.Config) { c.IndexesJSON = nil })
	store(t, cloud.Firestore, map[string]map[string]any{"VipUsers/u": {"workspaceId": "w", "mediumId": "c", "ltv": 1.0}})
	for name, read := range map[string]func() error{
		"scan":  func() error { _, err := scanIDs(t.Context(), r, users(), vip.Range{}, Options{}); return err },
		"count": func() error { _, _, err := r.Count(t.Context(), users(), vip.Range{}, time.Time{}); return err },
		"page":  func() error { _, err := r.Page(t.Context(), users(), nil, 0, 1, maxPage, idRow{}); return err },
	} {
		err := read()
		failure, _ := errors.AsType[*jobs.Failure](err)
		if !errors.Is(err, ErrMissingIndex) || failure == nil || failure.Class != jobs.Permanent || !strings.Contains(failure.Remedy, "create_composite=") {
			t.Errorf("%s without index = %v, remedy %q; want %v with the link", name, err, failure, ErrMissingIndex)
		}
	}
	_, _, err := r.Count(t.Context(), vip.Query{Collection: "VipUsers", SortField: "ltv"}, vip.Range{}, time.Now().Add(-30*24*time.Hour))
	if !errors.Is(err, ErrSnapshotTooOld) {
		t.Errorf("Count(30 days ago) = %v, want %v", err, ErrSnapshotTooOld)
	}
	bad := messages(func(f jobs.Params) { f["label"] = "\xff" })
	if _, err := r.Page(t.Context(), bad, nil, 0, 1, maxPage, idRow{}); jobs.AsFailure(err).Code != jobs.CodeInvalidJob {
		t.Errorf("Page(label not UTF-8) = %v", err)
	}
	cloud.Stop(t)
	if err := r.Ping(t.Context()); !errors.Is(err, jobs.ErrUnavailable) {
		t.Errorf("Ping() of a stopped server = %v, want %v", err, jobs.ErrUnavailable)
	}
	if _, err := r.SnapshotTime(t.Context()); !errors.Is(err, jobs.ErrUnavailable) {
		t.Errorf("SnapshotTime() of a stopped server = %v, want %v", err, jobs.ErrUnavailable)
	}
}

func TestLabelCounts(t *testing.T) {
	t.Parallel()
	cloud, r := open(t)
	docs := sample()
	docs["VipMessages/odd"] = map[string]any{"workspaceId": "w", "mediumId": "c", "timestamp": start, "labels": "not a list"}
	store(t, cloud.Firestore, docs)
	counts, total, err := r.LabelCounts(t.Context(), messages())
	if err != nil || total != 601 || len(counts) != 6 || counts[0].Label != "all" {
		t.Fatalf("LabelCounts() = %v, %d, %v", counts, total, err)
	}
	for i, c := range counts {
		n, _, err := r.Count(t.Context(), messages(func(f jobs.Params) { f["label"] = c.Label }), vip.Range{}, time.Time{})
		if err != nil || n != c.Count {
			t.Errorf("label %q is counted %d times, its query finds %d, %v", c.Label, c.Count, n, err)
		}
		if i > 0 && (counts[i-1].Count < c.Count || counts[i-1].Count == c.Count && counts[i-1].Label >= c.Label) {
			t.Errorf("counts are out of order at %v", c)
		}
	}
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	cloud, r := open(t)
	store(t, cloud.Firestore, map[string]map[string]any{
		"Workspaces/w1": {"orgId": "o1", "name": "One", "isVip": true, "channelIds": []string{"c1"}},
		"Workspaces/w2": {"orgId": "o1", "name": 2, "isVip": "yes", "channelIds": nil},
		"Workspaces/w3": {"orgId": "o2", "name": "Three", "isVip": true},
		"Channels/c1":   {"orgId": "o1", "name": "Chat", "platform": "web", "workspaceIds": []string{"w1", "w2"}},
		"Channels/c2":   {"orgId": "o1", "name": "Mail", "platform": "mail", "workspaceIds": []string{"w2"}},
		"Channels/c3":   {"orgId": "o2", "name": "Other", "workspaceIds": []string{"w1"}},
	})
	workspaces, err := r.Workspaces(t.Context(), "o1", maxPage)
	want := []vip.Workspace{
		{ID: "w1", OrgID: "o1", Name: "One", IsVIP: true, ChannelIDs: []string{"c1"}},
		{ID: "w2", OrgID: "o1", Name: "2", ChannelIDs: []string{}},
	}
	if diff := cmp.Diff(want, workspaces); err != nil || diff != "" {
		t.Errorf("Workspaces(o1) error %v (-want +got):\n%s", err, diff)
	}
	for workspace, want := range map[string]string{"": "c1 c2", "w1": "c1", "w2": "c1 c2", "w3": ""} {
		channels, err := r.Channels(t.Context(), "o1", workspace, maxPage)
		var ids []string
		for _, c := range channels {
			ids = append(ids, c.ID)
		}
		if got := strings.Join(ids, " "); err != nil || got != want {
			t.Errorf("Channels(o1, %q) = %q, %v, want %q", workspace, got, err, want)
		}
	}
	for _, test := range []struct {
		org, workspace, channel string
		want                    error
	}{
		{"o1", "w1", "c1", nil}, {"o1", "w1", "c2", vip.ErrChannelNotConnected}, {"o1", "w1", "nope", vip.ErrChannelUnknown},
		{"o1", "w1", "c3", vip.ErrChannelUnknown}, {"o1", "w2", "c1", vip.ErrNotVIP}, {"o1", "w3", "c3", vip.ErrWorkspaceUnknown},
		{"o1", "nope", "c1", vip.ErrWorkspaceUnknown}, {"o1", "a/b", "c1", vip.ErrWorkspaceUnknown}, {"o1", "w1", "..", vip.ErrChannelUnknown},
		{"", "w1", "c1", vip.ErrWorkspaceUnknown}, {"o2", "w1", "c1", vip.ErrWorkspaceUnknown},
	} {
		if err := vip.Gate(t.Context(), r, test.org, test.workspace, test.channel); !errors.Is(err, test.want) {
			t.Errorf("Gate(%s, %s, %s) = %v, want %v", test.org, test.workspace, test.channel, err, test.want)
		}
	}
}
