package firestoreserver_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"cloud.google.com/go/firestore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/localcloud/firestoreserver"
	"exportd/internal/localcloud/firestoreserver/fsindex"
)

// lines is a log that tests read while the server writes.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), s)
}

// TestIndexModes: what is refused names what to add, and can be pasted; auto serves it, logs it once and
// writes an index file with which it is served.
func TestIndexModes(t *testing.T) {
	t.Parallel()
	const own = `{"indexes":[{"collectionGroup":"users","queryScope":"COLLECTION","fields":[{"fieldPath":"a","order":"ASCENDING"},{"fieldPath":"z","order":"DESCENDING"}]}],
		"fieldOverrides":[{"collectionGroup":"users","fieldPath":"tag","ttl":true,"indexes":[]}]}`
	queries := func(f *fixture) map[string]firestore.Query {
		users := f.client.Collection("users")
		return map[string]firestore.Query{
			"composite":        users.Where("a", "==", 1).OrderBy("b", firestore.Desc),
			"other composite":  users.Where("c", "==", 1).OrderBy("b", firestore.Asc),
			"group":            f.client.CollectionGroup("users").Where("a", "==", 1),
			"group descending": f.client.CollectionGroup("users").OrderBy("a", firestore.Desc),
			"two disjuncts": users.WhereEntity(firestore.OrFilter{Filters: []firestore.EntityFilter{
				firestore.AndFilter{Filters: []firestore.EntityFilter{firestore.PropertyFilter{Path: "d", Operator: "==", Value: 1}, firestore.PropertyFilter{Path: "h", Operator: ">", Value: 1}}},
				firestore.AndFilter{Filters: []firestore.EntityFilter{firestore.PropertyFilter{Path: "e", Operator: "==", Value: 1}, firestore.PropertyFilter{Path: "h", Operator: ">", Value: 1}}},
			}}),
			"overridden": f.client.Collection("users").Where("tag", "==", 1),
		}
	}
	run := func(f *fixture, q firestore.Query) error {
		_, err := q.Documents(t.Context()).GetAll()
		return err
	}
	t.Run("enforce", func(t *testing.T) {
		t.Parallel()
		f := start(t, firestoreserver.Options{IndexesJSON: []byte(own), IndexHint: "start with --index-mode auto"})
		for name, q := range queries(f) {
			err := run(f, q)
			if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "console.firebase.google.com") || !strings.Contains(err.Error(), "--index-mode auto") || !strings.Contains(err.Error(), `{"collectionGroup":"users"`) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	t.Run("off", func(t *testing.T) {
		t.Parallel()
		f := start(t, firestoreserver.Options{IndexesJSON: []byte(own), IndexMode: firestoreserver.Scan})
		for name, q := range queries(f) {
			if err := run(f, q); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	t.Run("auto", func(t *testing.T) {
		t.Parallel()
		log, file := &lines{}, filepath.Join(t.TempDir(), "firestore.indexes.json")
		f := start(t, firestoreserver.Options{IndexesJSON: []byte(own), IndexMode: firestoreserver.Auto, LearnFile: file, Logger: slog.New(slog.NewTextHandler(log, nil))})
		for range 2 {
			for name, q := range queries(f) {
				if err := run(f, q); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		if n := log.count("query served without its index"); n != 7 {
			t.Errorf("%d lines of log, want 7", n)
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fsindex.Parse(raw); err != nil || !bytes.Contains(raw, []byte(`"ttl": true`)) {
			t.Fatalf("learned file: %v\n%s", err, raw)
		}
		f = start(t, firestoreserver.Options{IndexesJSON: raw})
		for name, q := range queries(f) {
			if err := run(f, q); err != nil {
				t.Errorf("%s with what was learned: %v", name, err)
			}
		}
		if err := run(f, f.client.Collection("users").Where("a", "==", 1)); err != nil {
			t.Errorf("an automatic index of a field whose override was learned: %v", err)
		}
	})
}

// TestVectorIndexes: a search needs its index; one vector of zeros is of no number far, and last, and fails
// nothing.
func TestVectorIndexes(t *testing.T) {
	t.Parallel()
	field := func(dimension int) string {
		return fmt.Sprintf(`{"fieldPath":"v","vectorConfig":{"dimension":%d,"flat":{}}}`, dimension)
	}
	indexes := `{"indexes":[{"collectionGroup":"things","queryScope":"COLLECTION","fields":[{"fieldPath":"__name__","order":"ASCENDING"},` + field(2) + `]},
		{"collectionGroup":"things","queryScope":"COLLECTION","fields":[{"fieldPath":"color","order":"ASCENDING"},` + field(2) + `]}]}`
	f := start(t, firestoreserver.Options{IndexesJSON: []byte(indexes)})
	things := f.client.Collection("things")
	for id, v := range map[string]firestore.Vector64{"a": {1, 0}, "b": {0, 1}, "z": {0, 0}} {
		if _, err := things.Doc(id).Set(t.Context(), map[string]any{"v": v, "color": "red"}); err != nil {
			t.Fatal(err)
		}
	}
	near := func(q firestore.Query, v firestore.Vector64, m firestore.DistanceMeasure) (string, []float64, error) {
		docs, err := q.FindNearest("v", v, 10, m, &firestore.FindNearestOptions{DistanceResultField: "d"}).Documents(t.Context()).GetAll()
		names, distances := "", []float64{}
		for _, d := range docs {
			names += d.Ref.ID
			distances = append(distances, d.Data()["d"].(float64))
		}
		return names, distances, err
	}
	names, distances, err := near(things.Query, firestore.Vector64{1, 0}, firestore.DistanceMeasureCosine)
	if err != nil || names != "abz" || distances[0] != 0 || distances[1] != 1 || !math.IsNaN(distances[2]) {
		t.Errorf("cosine: %s %v %v, want abz, the last without a distance", names, distances, err)
	}
	if names, _, err := near(things.Query, firestore.Vector64{0, 0}, firestore.DistanceMeasureCosine); err != nil || names != "abz" {
		t.Errorf("cosine to a vector of zeros: %s %v", names, err)
	}
	if names, _, err := near(things.Where("color", "==", "red"), firestore.Vector64{1, 0}, firestore.DistanceMeasureEuclidean); err != nil || names != "azb" {
		t.Errorf("filtered: %s %v", names, err)
	}
	for name, refused := range map[string]struct {
		query firestore.Query
		v     firestore.Vector64
	}{
		"other dimension":  {things.Query, firestore.Vector64{1, 0, 0}},
		"other collection": {f.client.Collection("others").Query, firestore.Vector64{1, 0}},
		"other filter":     {things.Where("size", "==", 1), firestore.Vector64{1, 0}},
		"group":            {f.client.CollectionGroup("things").Query, firestore.Vector64{1, 0}},
	} {
		_, _, err := near(refused.query, refused.v, firestore.DistanceMeasureEuclidean)
		if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "Missing vector index configuration") || !strings.Contains(err.Error(), "vectorConfig") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
