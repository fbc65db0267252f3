package e2e

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"exportd/internal/e2e/e2etest"
)

// TestLostFiles: objects are deleted from the bucket by somebody else. Who asks is told, an equal request
// gets a file, and operators find and run again what nobody has asked for.
func TestLostFiles(t *testing.T) {
	t.Parallel()
	s := e2etest.Demo(t, exportd, t.TempDir(), e2etest.Sizes{Users: 200, Messages: 300})
	c, ops := s.Caller(), s.Operator()
	asked, _ := c.Export(t, "vip-users", s.Users())
	unasked, _ := c.Export(t, "vip-users", s.Users("hasBirthday", "true"))
	whole, want := c.Export(t, "vip-messages", s.Messages())
	deleteFile(t, s, asked.JobID)
	deleteFile(t, s, unasked.JobID)

	// What was seen to be there counts as there for some seconds.
	e2etest.Until(t, jobWithin, "the file to be missed", func() bool {
		return c.Get(t, "/exports/"+asked.JobID+"/csv", nil).Status == http.StatusGone
	})
	var gone struct{ Code string }
	c.Get(t, "/exports/"+asked.JobID+"/csv", nil).Want(t, http.StatusGone).JSON(t, &gone)
	if gone.Code != "FILE_LOST" {
		t.Errorf("code = %q", gone.Code)
	}
	if again := c.Submit(t, "vip-users", s.Users()); again == asked.JobID {
		t.Error("an equal request attaches to the job whose file is lost")
	}

	filter := `{"filter": {"fileLost": true}, "reason": "files lost", "dryRun": true}`
	var dry struct {
		Eligible    int
		NotEligible []struct {
			Reason string
			Count  int
		}
	}
	ops.Do(t, http.MethodPost, "/ops/jobs/rerun", nil, strings.NewReader(filter), "Content-Type", "application/json").Want(t, http.StatusOK).JSON(t, &dry)
	if dry.Eligible != 1 || len(dry.NotEligible) == 0 || dry.NotEligible[0].Reason != "has its file" {
		t.Errorf("dry run = %+v, want the one file that nobody has missed", dry)
	}
	ops.Do(t, http.MethodPost, "/ops/jobs/rerun", nil, strings.NewReader(strings.Replace(filter, `"dryRun": true`, `"dryRun": false`, 1)), "Content-Type", "application/json").Want(t, http.StatusAccepted)
	// Whoever looks at the job now would find the file lost, too: the batch is looked at.
	e2etest.Until(t, jobWithin, "the batch to run the job again", func() bool {
		var list struct {
			Batches []struct {
				State string
				Rerun int
			}
		}
		ops.Get(t, "/ops/batches", nil).Want(t, http.StatusOK).JSON(t, &list)
		return list.Batches[0].State == "finished" && list.Batches[0].Rerun == 1
	})
	if j := c.Await(t, unasked.JobID, jobWithin); j.State != "succeeded" || j.Attempt != 2 {
		t.Fatalf("the job of the lost file is %s in attempt %d", j.State, j.Attempt)
	}
	e2etest.Download(t, *c.Job(t, unasked.JobID, "").CSVURL).Want(t, http.StatusOK)

	// A succeeded job with its file is run again by mode fresh alone.
	rerun := func(mode string) int {
		return ops.Do(t, http.MethodPost, "/ops/jobs/"+whole.JobID+"/rerun", nil, strings.NewReader(`{"reason": "again", "mode": "`+mode+`"}`), "Content-Type", "application/json").Status
	}
	if status := rerun("resume"); status != http.StatusConflict {
		t.Errorf("resume of a succeeded job = %d, want 409", status)
	}
	if status := rerun("fresh"); status != http.StatusAccepted {
		t.Errorf("fresh rerun of a succeeded job = %d, want 202", status)
	}
	if j := c.Await(t, whole.JobID, jobWithin); j.State != "succeeded" || j.Attempt != 2 || string(e2etest.Download(t, *j.CSVURL).Body) != string(want) {
		t.Errorf("the rerun job is %s in attempt %d", j.State, j.Attempt)
	}
}

// deleteFile deletes all objects of a job from the bucket.
func deleteFile(t *testing.T, s *e2etest.Stack, jobID string) {
	t.Helper()
	bucket := "http://" + s.Storage + "/storage/v1/b/" + e2etest.Project + "-exports/o"
	send := func(method, target string, query url.Values, status int) e2etest.Response {
		t.Helper()
		r, err := e2etest.Send(context.WithoutCancel(t.Context()), method, target, query, nil)
		if err != nil {
			t.Fatal(err)
		}
		return r.Want(t, status)
	}
	var list struct{ Items []struct{ Name string } }
	send(http.MethodGet, bucket, url.Values{"prefix": {"exports/" + s.OrgID + "/" + jobID + "/"}}, http.StatusOK).JSON(t, &list)
	if len(list.Items) == 0 {
		t.Fatalf("job %s has no objects", jobID)
	}
	for _, o := range list.Items {
		send(http.MethodDelete, bucket+"/"+url.PathEscape(o.Name), nil, http.StatusNoContent)
	}
}
