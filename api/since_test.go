package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"exportd/jobs"
)

// comparedJobs are two jobs, the second of the changes since the first, whose file is lost. Equal requests
// are given the second.
func comparedJobs(b *bench) (earlier, changes *jobs.Job) {
	of := func(params jobs.Params, base *jobs.Whole) *jobs.Job {
		j := succeeded()
		j.Result.Object = j.ObjectPrefix() + "1/users.csv"
		j.Params, j.Base = params.With(jobs.ParamProfile, jobs.ProfileRFC4180).With(jobs.ParamFormulaGuard, true), base
		return b.jobs.set(j)
	}
	all := jobs.Params{"workspaceId": "ws1", "mediumId": "ch1"}
	earlier = of(all, nil)
	base := earlier.Whole()
	base.Snapshot = noon
	changes = of(all.With(jobs.ParamSince, earlier.ID), &base)
	b.jobs.attach = changes
	b.objects.lost = map[string]bool{earlier.Result.Object: true}
	return earlier, changes
}

// TestSinceOfALostFile: a request whose earlier file is gone is given the job that an equal one made before,
// and where it wants another than that, none is made that has nothing to be compared with.
func TestSinceOfALostFile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		header []string
		lost   bool // the file of changes, too
		status int
	}{
		{nil, false, http.StatusOK},
		{[]string{"Cache-Control", "max-age=0"}, false, http.StatusUnprocessableEntity},
		{nil, true, http.StatusUnprocessableEntity},
	} {
		for _, dryRun := range []string{"", "&dryRun=true"} {
			b := newBench(t)
			earlier, changes := comparedJobs(b)
			b.objects.lost[changes.Result.Object] = c.lost
			w := b.get(t, usersExport+"&since="+earlier.ID+dryRun, c.header...)
			if c.status == http.StatusOK && dryRun != "" {
				continue // the bench has no quoter
			}
			wantStatus(t, w, c.status)
			if c.status != http.StatusOK && !strings.Contains(w.Body.String(), "this one's is lost") {
				t.Errorf("%v: %s", c.header, w.Body)
			}
			for _, s := range b.jobs.submitted {
				if s.Except != "" || c.status != http.StatusOK {
					t.Errorf("%v: submitted %+v", c.header, s)
				}
			}
		}
	}
}

// TestRerunOfChangesOfALostFile: a job of changes whose earlier file is gone is not run again as another one,
// though an equal one is there to be shared.
func TestRerunOfChangesOfALostFile(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_, changes := comparedJobs(b)
	j := *changes
	j.ID, j.State, j.Result = jobs.NewID(), jobs.Failed, jobs.Result{}
	j.Error = &jobs.JobError{Code: jobs.CodeFileLost, Message: "lost"}
	b.jobs.set(j)
	code, body := postBody(t, b, "/ops/jobs/"+j.ID+"/rerun", `{"reason":"try","mode":"fresh","params":{}}`)
	if code != http.StatusUnprocessableEntity || !strings.Contains(fmt.Sprint(body), "this one's is lost") || len(b.jobs.submitted) > 0 {
		t.Errorf("rerun = %d %v, submitted %+v", code, body, b.jobs.submitted)
	}
}
