package storageserver

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/api/storage/v1"
)

func TestDue(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	o := &storage.Object{Name: "exports/a.csv", StorageClass: "STANDARD", Size: 10, TimeCreated: "2026-03-01T12:00:00.000000Z", CustomTime: "2026-03-05T00:00:00.000000Z"}
	days := func(n int64) *int64 { return &n }
	yes, no := true, false
	type condition = storage.BucketLifecycleRuleCondition
	for name, c := range map[string]struct {
		condition condition
		want      bool
	}{
		"old":                {condition{Age: days(9)}, true},
		"not yet":            {condition{Age: days(10)}, false},
		"age and prefix":     {condition{Age: days(1), MatchesPrefix: []string{"x", "exports/"}}, true},
		"age, not prefix":    {condition{Age: days(1), MatchesPrefix: []string{"x"}}, false},
		"suffix":             {condition{MatchesSuffix: []string{".csv"}}, true},
		"other suffix":       {condition{MatchesSuffix: []string{".txt"}}, false},
		"class":              {condition{MatchesStorageClass: []string{"STANDARD"}}, true},
		"other class":        {condition{MatchesStorageClass: []string{"NEARLINE"}}, false},
		"created before":     {condition{CreatedBefore: "2026-03-02"}, true},
		"not created before": {condition{CreatedBefore: "2026-03-01"}, false},
		"live":               {condition{IsLive: &yes}, true},
		"noncurrent":         {condition{IsLive: &no}, false},
		"newer versions":     {condition{Age: days(1), NumNewerVersions: 1}, false},
		"noncurrent time":    {condition{NoncurrentTimeBefore: "2027-01-01"}, false},
		"custom time":        {condition{DaysSinceCustomTime: 5}, true},
		"custom time later":  {condition{DaysSinceCustomTime: 6}, false},
		"custom day":         {condition{CustomTimeBefore: "2026-03-06"}, true},
		"custom day later":   {condition{CustomTimeBefore: "2026-03-05"}, false},
		"above":              {condition{SizeAboveBytes: 9}, true},
		"not above":          {condition{SizeAboveBytes: 10}, false},
		"below":              {condition{SizeBelowBytes: 11}, true},
		"not below":          {condition{SizeBelowBytes: 10}, false},
	} {
		if got := due(&c.condition, o, 0, now); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
	if due(&condition{DaysSinceCustomTime: 1}, &storage.Object{TimeCreated: o.TimeCreated}, 0, now) {
		t.Error("an object without custom time is due by it")
	}
}

// TestLifecycleOfZero: a condition of 0 is one, and not none, by which all objects would end. It is shown,
// and holds also after other settings were changed.
func TestLifecycleOfZero(t *testing.T) {
	t.Parallel()
	for condition, want := range map[string][]string{ // what is left of them
		`{"daysSinceNoncurrentTime":0}`: {"empty", "full", "timed"},
		`{"daysSinceCustomTime":0}`:     {"empty", "full", "full#"},
		`{"sizeAboveBytes":"0"}`:        {"empty"},
		`{"sizeBelowBytes":"0"}`:        {"empty", "full", "full#", "timed"},
		`{"numNewerVersions":0}`:        nil,
	} {
		v := newVersioned(t, Options{InMemory: true})
		v.call(200, "PATCH", bkt, `{"lifecycle":{"rule":[{"action":{"type":"Delete"},"condition":`+condition+`}]}}`)
		v.put("empty", "")
		v.put("full", "xx")
		v.put("full", "x")
		v.put("timed", "x")
		v.call(200, "PATCH", bkt+"/o/timed", `{"customTime":"2026-01-02T03:04:05Z"}`)
		if got := v.call(200, "PATCH", bkt, `{"labels":{"a":"b"}}`); !strings.Contains(got, `"condition":`+condition) {
			t.Errorf("%s is shown as %s", condition, got)
		}
		for range 2 { // what was live is noncurrent first
			if err := v.tidy(time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for _, name := range v.list(9, "versions=true") {
			of, _, noncurrent := strings.Cut(name, "#")
			if noncurrent {
				of += "#"
			}
			got = append(got, of)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s leaves %q, want %q", condition, got, want)
		}
	}
}

// TestLifecycleDates: of two dates that are none the same one is always told.
func TestLifecycleDates(t *testing.T) {
	t.Parallel()
	s, _ := open(t, Options{InMemory: true})
	for range 20 { // an order by chance passes once in a million
		body := do(t, s, "POST", "/storage/v1/b", `{"name":"bkt","lifecycle":{"rule":[{"action":{"type":"Delete"},"condition":{"noncurrentTimeBefore":"third","customTimeBefore":"second","createdBefore":"2026-02-30"}}]}}`).Body.String()
		if !strings.Contains(body, "2026-02-30") {
			t.Fatalf("createdBefore is not the first that is told: %s", body)
		}
	}
}
