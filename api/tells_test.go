package api

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/apikey"
	"exportd/internal/dataset"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/records"
	"exportd/internal/timetest"
	"exportd/jobs"
)

// tells is a Server over real stores that holds what org1 has and strangers ask for.
type tells struct {
	*damageBench
	things []thing
}

// thing is what a stranger asks for: one that nobody has, or one that org1 or org3 has.
type thing struct {
	name string
	ids  map[string]string // by the name of the parameter
}

func newTells(t *testing.T) *tells {
	t.Helper()
	b := newDamageBench(t)
	reader, err := records.Open(t.Context(), records.Config{ProjectID: localcloudtest.Project, Emulator: b.cloud.Endpoints().Firestore})
	b.must(err)
	t.Cleanup(func() { _ = reader.Close() })
	b.Server.records = reader
	x := &tells{damageBench: b}
	doc := func(path string) *firestore.DocumentRef { return b.cloud.Firestore.Doc(path) }
	set := func(path string, fields map[string]any) {
		_, err := doc(path).Set(t.Context(), fields)
		b.must(err)
	}
	set("Workspaces/own", map[string]any{"orgId": "org2", "isVip": true, "channelIds": []string{"ownch"}})
	set("Channels/ownch", map[string]any{"orgId": "org2"})
	set("Workspaces/there", map[string]any{"orgId": "org1", "isVip": true, "channelIds": []string{"therech"}, "name": strings.Repeat("n", 20_000)})
	set("Channels/therech", map[string]any{"orgId": "org1", "name": strings.Repeat("n", 20_000)})
	set("Workspaces/hurt", map[string]any{"orgId": "org1", "isVip": 7, "channelIds": 7})
	set("Channels/hurtch", map[string]any{"orgId": "org1", "workspaceIds": 7})
	key := func() string {
		k, err := b.keys.Create(t.Context(), apikey.Draft{OrgID: "org3", Name: "n", Scopes: []apikey.Scope{apikey.ScopeRead}}, apikey.By{Actor: "a", Reason: strings.Repeat("r", 1000)})
		b.must(err)
		return k.ID
	}
	add := func(name, jobID, keyID, workspace, channel string) {
		x.things = append(x.things, thing{name, map[string]string{"jobId": jobID, "keyId": keyID, "workspaceId": workspace, "mediumId": channel}})
	}
	add("unknown", jobs.NewID(), "key_"+strings.Repeat("a", 26), "gone1", "gonech")
	for _, state := range []jobs.State{jobs.Queued, jobs.Running, jobs.Succeeded, jobs.Failed} {
		add("there, "+string(state), b.job(state), key(), "there", "therech")
	}
	deleted := b.job(jobs.Queued)
	b.update(deleted, func(tx *jobs.Tx) error { return tx.Delete("r") })
	add("there, deleted", deleted, key(), "there", "therech")
	hurt, hurtKey := b.job(jobs.Succeeded), key()
	for path, fields := range map[string][]firestore.Update{
		"ExportJobs/" + hurt:              {{Path: "rowsTotal", Value: "seven"}, {Path: "state", Value: 7}},
		apikey.Collection + "/" + hurtKey: {{Path: "scopes", Value: 7}, {Path: "state", Value: 7}},
	} {
		_, err := doc(path).Update(t.Context(), fields)
		b.must(err)
	}
	add("there, damaged", hurt, hurtKey, "hurt", "hurtch")
	return x
}

// probe is a request of a stranger with a place for what it asks for.
type probe struct {
	name, key, method, path, body string
}

// probes are a request for each route and parameter that names what an org has.
func (x *tells) probes() (all []probe) {
	const window = "&from=2026-06-01&to=2026-06-02"
	for _, r := range x.routes() {
		p := probe{name: r.method + " " + r.path, key: "key_two2", method: r.method, path: r.path}
		if r.method == http.MethodPost {
			p.body = `{}`
		}
		switch {
		case strings.HasPrefix(r.path, "/ops/"): // of all orgs, for whom there are no others
		case strings.Contains(r.path, ":jobId"):
			p.path = strings.Replace(p.path, ":jobId", "{jobId}", 1)
			all = append(all, p)
		case strings.Contains(r.path, ":keyId"):
			p.key, p.path = "key_adm1", strings.Replace(p.path, ":keyId", "{keyId}", 1)
			if p.body != "" {
				p.body = `{"reason":"r"}`
				if strings.HasSuffix(r.path, "/budget") {
					p.body = `{"rowsPerDay":5,"reason":"r"}`
				}
			}
			all = append(all, p)
		case r.path == "/channels":
			p.path += "?workspaceId={workspaceId}"
			all = append(all, p)
		case r.path == "/vip-labels" || gated(r.path) != nil:
			if d := gated(r.path); d != nil && d.Window == nil {
				p.path += "?"
			} else {
				p.path += "?" + window[1:] + "&"
			}
			workspace, channel := p, p
			workspace.name, workspace.path = p.name+" workspace", p.path+"workspaceId={workspaceId}&mediumId={mediumId}"
			channel.name, channel.path = p.name+" channel", p.path+"workspaceId=own&mediumId={mediumId}"
			all = append(all, workspace, channel)
		}
	}
	return all
}

// gated is the dataset of a path whose gate takes a workspace and a channel.
func gated(path string) *dataset.Dataset {
	d := dataset.BuiltIn.Get(strings.TrimSuffix(path[1:], "/export"))
	if d == nil || !d.Gate.VIP() {
		return nil
	}
	return d
}

// ask makes the request of p for a thing.
func (x *tells) ask(t *testing.T, p probe, of thing) *httptest.ResponseRecorder {
	target := p.path
	for name, id := range of.ids {
		target = strings.ReplaceAll(target, "{"+name+"}", id)
	}
	r := request(t, p.key, p.method, target)
	if p.body != "" {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(p.body)), int64(len(p.body))
	}
	w := httptest.NewRecorder()
	x.ServeHTTP(w, r)
	return w
}

// cost is what a request had Firestore do.
func (x *tells) cost(f func()) string {
	f0 := x.cloud.Faults()
	f0.ResetCounters()
	f()
	c := f0.Counters()
	var calls []string
	for _, method := range slices.Sorted(maps.Keys(c.Methods)) {
		calls = append(calls, fmt.Sprintf("%s %d", method, c.Methods[method].Calls))
	}
	return fmt.Sprintf("%s: %d documents sent, %d written", strings.Join(calls, ", "), c.DocumentsRead, c.DocumentsWritten)
}

// TestForeignCostsTheSame: what another org has is asked for by the same calls, and refused by the same
// answer, as what nobody has; in any state, damaged or not. And nothing of it changes.
func TestForeignCostsTheSame(t *testing.T) {
	t.Parallel()
	x := newTells(t)
	asked, own := 0, 0
	for _, p := range x.probes() {
		var want, wantCost string
		for _, thing := range x.things {
			var w *httptest.ResponseRecorder
			cost := x.cost(func() { w = x.ask(t, p, thing) })
			w.Header().Del("X-Request-Id")
			w.Header().Del("RateLimit") // it counts this key's requests
			got := fmt.Sprintf("%d %v %s", w.Code, w.Header(), w.Body)
			asked++
			if thing.name == "unknown" {
				want, wantCost = got, cost
				if w.Code/100 != 4 || w.Code == http.StatusUnprocessableEntity || w.Code == http.StatusUnauthorized || w.Code == http.StatusMethodNotAllowed || !strings.Contains(cost, "Firestore/") {
					t.Errorf("%s of what nobody has = %s after %s", p.name, got, cost)
				}
				continue
			}
			if got != want {
				t.Errorf("%s of %s = %s, want as of what nobody has: %s", p.name, thing.name, got, want)
			}
			if cost != wantCost {
				t.Errorf("%s of %s costs %s, want as of what nobody has: %s", p.name, thing.name, cost, wantCost)
			}
		}
		if strings.Contains(p.path, "{jobId}") {
			own++
		}
	}
	if own < 6 || asked < 100 {
		t.Errorf("%d requests, %d routes of jobs", asked, own)
	}
	t.Logf("%d requests of %d kinds", asked, asked/len(x.things))
	// Its owner is shown it all the same, and by one read.
	for _, thing := range x.things[1:5] {
		r := request(t, "key_one1", http.MethodGet, "/exports/"+thing.ids["jobId"])
		w := httptest.NewRecorder()
		if x.ServeHTTP(w, r); w.Code != http.StatusOK {
			t.Errorf("%s, to its owner = %d %s", thing.name, w.Code, w.Body)
		}
	}
}

// TestForeignTakesTheSameTime shows by how much times differ; a loaded machine spoils them, so that only a
// difference as of twice the work fails. The counts above are exact.
func TestForeignTakesTheSameTime(t *testing.T) { // not parallel: it measures
	x := newTells(t)
	const runs, samplings, allowed = 400, 4, 1.8
	things := []thing{x.things[0], x.things[3], x.things[len(x.things)-1]}
	names := []string{"what nobody has", things[1].name, things[2].name}
	for _, p := range x.probes() {
		if p.name != "GET /exports/:jobId" && p.name != "GET /admin/keys/:keyId" && p.name != "GET /vip-users workspace" {
			continue
		}
		var worst float64
		for range samplings {
			samples := make([][]time.Duration, len(things))
			for i := range runs {
				for j := range things {
					j = (i + j) % len(things)
					start := time.Now()
					x.ask(t, p, things[j])
					samples[j] = append(samples[j], time.Since(start))
				}
			}
			var text string
			worst, text = timetest.Compare(names, samples)
			t.Logf("%s: %s", p.name, text)
			if worst <= allowed {
				break
			}
		}
		if worst > allowed {
			t.Errorf("%s: times differ by a factor of %.2f in each of %d samplings", p.name, worst, samplings)
		}
	}
}
