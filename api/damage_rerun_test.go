package api

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
)

// TestRerunDamaged: whatever the document of a job holds, a rerun of it is made or refused with a sentence,
// and as the rule says that batches go by.
func TestRerunDamaged(t *testing.T) {
	t.Parallel()
	b := newDamageBench(t)
	codes := map[int]int{}
	for _, state := range []jobs.State{jobs.Failed, jobs.Succeeded, jobs.Running} {
		whole, err := b.jobPatient(state, "").ref.Get(t.Context())
		b.must(err)
		for _, wound := range localcloudtest.Wounds(whole.Data(), *damageSample) {
			p := b.jobPatient(state, "")
			_, err := p.ref.Update(t.Context(), wound.Update())
			b.must(err)
			listed, err := b.store.List(t.Context(), jobs.List{IncludeDeleted: true})
			b.must(err)
			rule := "unlisted"
			if i := slices.IndexFunc(listed.Jobs, func(j *jobs.Job) bool { return j.ID == p.ref.ID }); i >= 0 {
				rule = fmt.Sprint(listed.Jobs[i].Rerunnable(jobs.RerunFresh, b.store.Policy(), noon))
			}
			code, body := ops(t, b.bench, http.MethodPost, "/ops/jobs/"+p.ref.ID+"/rerun", `{"reason":"r","mode":"fresh"}`)
			codes[code]++
			message, _ := body["message"].(string)
			if code != http.StatusAccepted && (code != http.StatusConflict && code != http.StatusNotFound || message == "") {
				t.Errorf("%s, %s = %s: rerun = %d %v", state, wound.Field, wound.What, code, body)
			}
			if rule != "unlisted" && (rule == "<nil>") != (code == http.StatusAccepted) {
				t.Errorf("%s, %s = %s: the rule says %s, rerun = %d %v", state, wound.Field, wound.What, rule, code, body)
			}
			_, err = p.ref.Delete(t.Context())
			b.must(err)
		}
	}
	t.Logf("answers: %v", codes)
}
