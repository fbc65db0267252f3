package firestoreserver_test

import (
	"slices"
	"testing"
	"time"

	"exportd/internal/localcloud/firestoreserver"
)

// TestExpire: a TTL policy deletes documents of its collection group, wherever they lie, whose time has
// passed, and none else; what lies below them stays.
func TestExpire(t *testing.T) {
	t.Parallel()
	now := time.Now()
	f := start(t, firestoreserver.Options{
		IndexesJSON: []byte(`{"fieldOverrides":[{"collectionGroup":"events","fieldPath":"at","ttl":true,"indexes":[]},{"collectionGroup":"keys","fieldPath":"end","ttl":true,"indexes":[]}]}`),
		Clock:       func() time.Time { return now },
	})
	past, future := now.Add(-time.Second), now.Add(time.Hour)
	for path, doc := range map[string]map[string]any{
		"jobs/a/events/past":   {"at": past},
		"jobs/a/events/now":    {"at": now.Truncate(time.Microsecond)},
		"events/past":          {"at": past},
		"events/past/below/x":  {"at": past},
		"jobs/a/events/future": {"at": future},
		"jobs/a/events/none":   {"end": past},
		"jobs/a/events/text":   {"at": past.Format(time.RFC3339)},
		"jobs/a/events/list":   {"at": []any{past}},
		"keys/past":            {"end": past},
		"keys/future":          {"end": future},
		"others/past":          {"at": past, "end": past},
	} {
		if _, err := f.client.Doc(path).Create(t.Context(), doc); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := f.server.Expire(t.Context()); n != 4 || err != nil {
		t.Errorf("Expire() = %d, %v, want 4", n, err)
	}
	var left []string
	for _, group := range []string{"events", "keys", "others", "below"} {
		docs, err := f.client.CollectionGroup(group).Documents(t.Context()).GetAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, doc := range docs {
			left = append(left, group+" "+doc.Ref.ID)
		}
	}
	slices.Sort(left)
	if want := []string{"below x", "events future", "events list", "events none", "events text", "keys future", "others past"}; !slices.Equal(left, want) {
		t.Errorf("left are %q, want %q", left, want)
	}
	if n, err := f.server.Expire(t.Context()); n != 0 || err != nil {
		t.Errorf("Expire() again = %d, %v", n, err)
	}
}

// TestExpireMany: more than one commit takes.
func TestExpireMany(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{IndexesJSON: []byte(`{"fieldOverrides":[{"collectionGroup":"c","fieldPath":"at","ttl":true,"indexes":[]}]}`)})
	bulk := f.client.BulkWriter(t.Context())
	for range 450 {
		if _, err := bulk.Create(f.client.Collection("c").NewDoc(), map[string]any{"at": time.Now().Add(-time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	bulk.End()
	if n, err := f.server.Expire(t.Context()); n != 450 || err != nil {
		t.Errorf("Expire() = %d, %v, want 450", n, err)
	}
}
