package main

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestFigures: each number of an answer that is not what the documents give is found, also one that nothing
// is known of, and one that is missing.
func TestFigures(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 26, 15, 2, 0, 0, time.UTC)
	var docs endedDocs
	for i := range 20 {
		j := jobDoc{id: "job", State: "succeeded", OrgID: "o", Kind: "vip-users", CreatedAt: at, StartedAt: at.Add(time.Second), FinishedAt: at.Add(time.Duration(2+i) * time.Second)}
		j.Result.Rows, j.Result.Size = 10, 100
		docs.jobs = append(docs.jobs, j)
	}
	q := question{since: at.Truncate(5 * time.Minute), until: at.Truncate(5 * time.Minute).Add(10 * time.Minute), bucket: 5 * time.Minute}
	const answer = `{"states": {"succeeded": 20, "failed": 0}, "errorCodes": {}, "queue": {"depth": 0, "oldestAgeSeconds": null}, "workersAlive": 4, "queues": {"exports": {"paused": true}},
		"window": {"since": "2026-11-26T15:00:00Z", "until": "2026-11-26T15:10:00Z", "bucketSeconds": 300, "ends": {"succeeded": 20}, "rows": 200, "bytes": 2000, "slow": 8,
			"queuedSeconds": {"count": 20, "p50": 0.95, "p95": 1.05}, "ranSeconds": {"count": 20, "p50": 10.5, "p95": 19}, "buckets": [
			{"at": "2026-11-26T15:00:00Z", "ends": {"succeeded": 20}, "rows": 200, "bytes": 2000, "slow": 8, "queuedSeconds": {"count": 20, "p50": 1, "p95": 1}, "ranSeconds": {"count": 20, "p50": 10, "p95": 19}},
			{"at": "2026-11-26T15:05:00Z", "ends": {"succeeded": 0}, "rows": 0, "queuedSeconds": {"count": 0, "p50": null}}],
			"topOrgs": {"complete": true, "byRows": [{"orgId": "o", "rows": 200, "ranSeconds": 210, "ended": 20, "failed": 0}], "byTime": [{"orgId": "o", "rows": 200, "ranSeconds": 210, "ended": 20, "failed": 0}]}}}`
	var stats map[string]any
	if err := json.Unmarshal([]byte(answer), &stats); err != nil {
		t.Fatal(err)
	}
	shown, all := flatten(stats), comparison{}
	if all.compare("stats", shown, q.stats(docs), false); len(all.differ) > 0 || all.compared < 35 {
		t.Fatal(all.String(), all.differ)
	}
	for _, name := range append(slices.Sorted(maps.Keys(shown)), "window.news") {
		wrong, c, want := maps.Clone(shown), comparison{}, 1
		wrong[name] = wrong[name]*1.2 + 1
		c.compare("stats", wrong, q.stats(docs), false)
		if shown[name] != 0 {
			delete(wrong, name)
			c.compare("stats", wrong, q.stats(docs), false)
			want++
		}
		if len(c.differ) != want || !strings.Contains(c.differ[0], name) {
			t.Errorf("%s: %q", name, c.differ)
		}
	}
}
