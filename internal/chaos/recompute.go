package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"exportd/jobs"
)

// stats is what /ops/stats has to say, by the documents.
func (q *question) stats(docs endedDocs) figures {
	out := figures{}
	for _, j := range docs.jobs {
		out["states."+j.State]++
		if j.State == string(jobs.Queued) {
			out["queue.depth"]++
		}
		if j.Error != nil {
			out["errorCodes."+j.Error.Code]++
		}
	}
	for _, cb := range docs.callbacks {
		if cb.State == string(jobs.CallbackPending) {
			out["callbacks.pending"]++
		}
	}
	q.stretch(out, "window.", q.since, q.until, docs)
	for at := q.since; at.Before(q.until); at = at.Add(q.bucket) {
		end := at.Add(q.bucket)
		if end.After(q.until) {
			end = q.until
		}
		name := "window.buckets." + at.Format(time.RFC3339) + "."
		out[name+"at"] = float64(at.UnixMicro())
		q.stretch(out, name, at, end, docs)
	}
	if q.org == "" {
		q.orgs(out, docs)
	}
	return out
}

func (q *question) asksFor(j jobDoc, from, to time.Time) bool {
	return (q.org == "" || j.OrgID == q.org) && (q.kind == "" || j.Kind == q.kind) && !j.FinishedAt.Before(from) && j.FinishedAt.Before(to)
}

// asksForCallback: callbacks are of no kind.
func (q *question) asksForCallback(cb callbackDoc) bool {
	return q.kind == "" && (q.org == "" || cb.OrgID == q.org)
}

// stretch counts what ended within [from, to).
func (q *question) stretch(out figures, name string, from, to time.Time, docs endedDocs) {
	var queued, ran []time.Duration
	for _, j := range docs.jobs {
		if !q.asksFor(j, from, to) {
			continue
		}
		out[name+"ends."+j.State]++
		if j.State == string(jobs.Failed) {
			out[name+"errorCodes."+j.Error.Code]++
		}
		if j.State == string(jobs.Succeeded) {
			out[name+"rows"] += float64(j.Result.Rows)
			out[name+"bytes"] += float64(j.Result.Size)
		}
		if j.StartedAt.IsZero() {
			continue
		}
		queued, ran = append(queued, j.StartedAt.Sub(j.CreatedAt)), append(ran, j.FinishedAt.Sub(j.StartedAt))
		// Four times what is expected: 3 s, and for 4,000 rows a second more for each of 8 parts at most.
		expected := 3 + float64(j.RowsTotal)/4000/float64(min(max(j.PartsTotal, 1), 8))
		if j.State == string(jobs.Succeeded) && j.FinishedAt.Sub(j.StartedAt).Seconds() > 4*expected {
			out[name+"slow"]++
		}
	}
	quantiles(out, name+"queuedSeconds.", queued)
	quantiles(out, name+"ranSeconds.", ran)
	for _, cb := range docs.callbacks {
		if q.asksForCallback(cb) && cb.State != string(jobs.CallbackPending) && !cb.endedAt.Before(from) && cb.endedAt.Before(to) {
			out[name+"callbacks."+cb.State]++
		}
	}
}

func quantiles(out figures, name string, times []time.Duration) {
	if len(times) == 0 {
		return
	}
	slices.Sort(times)
	out[name+"count"] = float64(len(times))
	for key, share := range map[string]float64{"p50": 0.5, "p95": 0.95} {
		out[name+key] = max(0, times[int(math.Ceil(share*float64(len(times))))-1].Seconds())
	}
}

// orgs are the largest. Those with the same are in the order of their names.
func (q *question) orgs(out figures, docs endedDocs) {
	type org struct {
		id                       string
		rows, ran, ended, failed float64
	}
	byID := map[string]*org{}
	for _, j := range docs.jobs {
		if !q.asksFor(j, q.since, q.until) {
			continue
		}
		if byID[j.OrgID] == nil {
			byID[j.OrgID] = &org{id: j.OrgID}
		}
		o := byID[j.OrgID]
		o.ended++
		if j.State == string(jobs.Succeeded) {
			o.rows += float64(j.Result.Rows)
		}
		if j.State == string(jobs.Failed) {
			o.failed++
		}
		if !j.StartedAt.IsZero() {
			o.ran += float64(j.FinishedAt.Sub(j.StartedAt).Milliseconds()) / 1000
		}
	}
	out["window.topOrgs.complete"] = 1
	for list, of := range map[string]func(*org) float64{"byRows": func(o *org) float64 { return o.rows }, "byTime": func(o *org) float64 { return o.ran }} {
		var all []*org
		for _, o := range byID {
			all = append(all, o)
		}
		slices.SortFunc(all, func(a, b *org) int { return cmp.Or(cmp.Compare(of(b), of(a)), cmp.Compare(a.id, b.id)) })
		for i, o := range all[:min(10, len(all))] {
			name := fmt.Sprintf("window.topOrgs.%s.%d.", list, i)
			out[name+"orgId "+o.id] = 1
			out[name+"rows"], out[name+"ranSeconds"], out[name+"ended"], out[name+"failed"] = o.rows, o.ran, o.ended, o.failed
		}
	}
}

// causes is what /ops/causes has to say, by the documents. Nobody has looked whether any is mended.
func (q *question) causes(docs endedDocs) figures {
	type one struct {
		job, org string
		at       time.Time // by which the window goes
	}
	cases, met := map[string][]one{}, map[string][]time.Time{} // of those asked for, and of all: a cause is one for all orgs and kinds
	for _, j := range docs.jobs {
		if j.State != string(jobs.Failed) {
			continue
		}
		met[j.Error.Cause] = append(met[j.Error.Cause], j.FinishedAt)
		if q.asksFor(j, q.since, q.until) {
			cases[j.Error.Cause] = append(cases[j.Error.Cause], one{j.id, j.OrgID, j.FinishedAt})
		}
	}
	for _, cb := range docs.callbacks {
		if cb.Cause == "" {
			continue
		}
		met[cb.Cause] = append(met[cb.Cause], cb.endedAt)
		if q.asksForCallback(cb) {
			cases[cb.Cause] = append(cases[cb.Cause], one{cb.JobID, cb.OrgID, cb.CreatedAt})
		}
	}
	out := figures{}
	for id, all := range cases {
		name := "causes." + id + "."
		example := slices.MaxFunc(all, func(a, b one) int { return a.at.Compare(b.at) })
		for _, c := range all {
			out[name+"orgs.each "+c.org] = 1
		}
		of := "jobs"
		if _, ok := jobs.CallbackCauses[jobs.CauseCode(id)]; ok {
			of = "callbacks"
		}
		for _, text := range []string{"code " + string(jobs.CauseCode(id)), "of " + of, "state open", "exampleJobId " + example.job, "orgsComplete"} {
			out[name+text] = 1
		}
		out[name+"count"] = float64(len(all))
		out[name+"firstAt"] = float64(slices.MinFunc(met[id], time.Time.Compare).UnixMicro())
		out[name+"lastAt"] = float64(slices.MaxFunc(met[id], time.Time.Compare).UnixMicro())
	}
	return out
}
