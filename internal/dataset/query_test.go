package dataset_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"exportd/internal/dataset"
	"exportd/internal/vip"
	"exportd/jobs"
)

var day = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)

// TestIndexes: every combination of filters has its index in the file, and the file has no other for these
// collections.
func TestIndexes(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../deployments/firestore.indexes.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Indexes []struct {
			CollectionGroup, QueryScope string
			Fields                      []struct{ FieldPath, Order, ArrayConfig string }
		}
		FieldOverrides []struct {
			CollectionGroup, FieldPath string
			Indexes                    []any
		}
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	var defined []string
	for _, index := range file.Indexes {
		if index.CollectionGroup != "VipUsers" && index.CollectionGroup != "VipMessages" {
			continue
		}
		line := index.CollectionGroup + " " + index.QueryScope
		for _, f := range index.Fields {
			line += " " + f.FieldPath + ":" + f.Order + f.ArrayConfig
		}
		defined = append(defined, line)
	}
	var needed []string
	used := make(map[string]bool)
	for i := range 16 {
		p := jobs.Params{"workspaceId": "w", "mediumId": "c", "from": day, "to": day.Add(time.Hour)}
		if i&2 > 0 {
			p["hasBirthday"], p["label"] = true, "x"
		}
		if i&4 > 0 {
			p["birthdayMonth"], p["contentType"] = int64(3), "text"
		}
		q := []*dataset.Dataset{dataset.VIPUsers, dataset.VIPMessages}[i&1].Query("o", p)
		line := q.Collection + " COLLECTION"
		for _, c := range q.Conditions {
			line += " " + c.Field + ":" + map[vip.Op]string{vip.Equal: "ASCENDING", vip.ArrayContains: "CONTAINS"}[c.Op]
			used[q.Collection+"."+c.Field] = true
		}
		used[q.Collection+"."+q.SortField] = true
		needed = append(needed, line+" "+q.SortField+":DESCENDING __name__:ASCENDING")
	}
	slices.Sort(needed)
	needed = slices.Compact(needed)
	slices.Sort(defined)
	if !slices.Equal(needed, defined) {
		t.Errorf("indexes in the file:\n%s\nwant\n%s", strings.Join(defined, "\n"), strings.Join(needed, "\n"))
	}
	for _, o := range file.FieldOverrides {
		if used[o.CollectionGroup+"."+o.FieldPath] || len(o.Indexes) > 0 && strings.HasPrefix(o.CollectionGroup, "Vip") {
			t.Errorf("%s.%s is exempt from indexes, but queries use it", o.CollectionGroup, o.FieldPath)
		}
	}
}

func TestQuery(t *testing.T) {
	t.Parallel()
	q := dataset.VIPUsers.Query("o", jobs.Params{"workspaceId": "w", "mediumId": "c", "hasBirthday": true, "birthdayMonth": int64(5), "label": "ignored", "from": day})
	want := "[{workspaceId 0 w} {mediumId 0 c} {hasBirthday 0 true} {birthdayMonth 0 5}]"
	if got := fmt.Sprint(q.Conditions); got != want || !q.From.IsZero() || q.SortField != "ltv" || q.Collection != "VipUsers" {
		t.Errorf("Query(users) = %+v, want conditions %s", q, want)
	}
	zone := time.FixedZone("", 3600)
	q = dataset.VIPMessages.Query("o", jobs.Params{"workspaceId": "w", "mediumId": "c", "from": day.In(zone), "to": day.Add(1500), "hasBirthday": true})
	if len(q.Conditions) != 2 || q.From != day || q.To != day.Add(time.Microsecond) {
		t.Errorf("Query(messages) = %+v", q)
	}
}

// TestVersions: a file's columns do not change without their version, or a result of before would answer a
// request of after. Whoever changes columns raises the version, and writes both here.
func TestVersions(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"vip-users":    "1: id playerId displayName avatarUrl language country ltv currency tier tags firstSeenAt lastSeenAt fullName gender birthday email phone city",
		"vip-messages": "1: id timestamp playerId displayName kind source text labels",
	}
	for _, d := range dataset.BuiltIn {
		if got := fmt.Sprintf("%d: %s", d.Version, strings.Join(d.Headers(), " ")); got != want[d.Name] {
			t.Errorf("%s has version and columns\n%s, want\n%s", d.Name, got, want[d.Name])
		}
	}
}
