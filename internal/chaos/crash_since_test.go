package main

import (
	"maps"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/jobs"
)

// TestCrashWhileComparing kills the only worker beside each step of a file of changes, starts another, and
// wants each change told once and the file with all rows behind it to be right.
func TestCrashWhileComparing(t *testing.T) {
	t.Parallel()
	crashing, cloud := crashRig(t)
	for _, at := range []string{"after writing an object", "after composing", "after comparing"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			c := newCrashCase(t, cloud.Endpoints(), crashing, at)
			c.submit(t, "", "")
			c.runToTheEnd(t)
			base, err := c.store.Get(t.Context(), c.jobs[0])
			if err != nil {
				t.Fatal(err)
			}
			c.changeFour(t)
			c.submitSince(t, base)
			if !c.runUntilCrash(t) {
				t.Fatal("the place was not passed")
			}
			c.runToTheEnd(t)
			c.checkChanges(t)
		})
	}
}

// changeFour changes a message, moves one from the last part to the first, deletes one and adds one.
func (c *crashCase) changeFour(t *testing.T) {
	t.Helper()
	messages := c.in.firestore.Collection("VipMessages")
	added, err := messages.Doc("message-00001").Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, do := range []func() (*firestore.WriteResult, error){
		func() (*firestore.WriteResult, error) {
			return messages.Doc("message-00010").Update(t.Context(), []firestore.Update{{Path: "text", Value: "another"}})
		},
		func() (*firestore.WriteResult, error) {
			return messages.Doc("message-00030").Update(t.Context(), []firestore.Update{{Path: "timestamp", Value: day.Add(40 * time.Hour)}})
		},
		func() (*firestore.WriteResult, error) { return messages.Doc("message-00020").Delete(t.Context()) },
		func() (*firestore.WriteResult, error) {
			return messages.Doc("message-00500").Create(t.Context(), added.Data())
		},
	} {
		if _, err := do(); err != nil {
			t.Fatal(err)
		}
	}
}

// submitSince asks for what has changed since base, whose request is the same.
func (c *crashCase) submitSince(t *testing.T, base *jobs.Job) {
	t.Helper()
	whole := base.Whole()
	c.submission(t, jobs.Submission{
		OrgID: base.OrgID, KeyID: crashKey, Kind: base.Kind, Params: base.Params.With(jobs.ParamSince, base.ID), Columns: base.Columns, Base: &whole,
	})
}

func (c *crashCase) checkChanges(t *testing.T) {
	t.Helper()
	j, err := c.store.Get(t.Context(), c.jobs[1])
	if err != nil {
		t.Fatal(err)
	}
	if want := (jobs.Changes{Added: 1, Changed: 2, Removed: 1, Unchanged: 347}); j.State != jobs.Succeeded || j.Attempt != 1 || *j.Result.Changes != want {
		t.Fatalf("the job is %s at attempt %d with %+v, want succeeded at attempt 1 with %+v: %+v", j.State, j.Attempt, j.Result.Changes, want, j.Error)
	}
	c.checkFile(t, j)
	all := *j
	all.Params, all.Base = maps.Clone(j.Params), nil
	delete(all.Params, jobs.ParamSince)
	if fault, err := c.in.compare(t.Context(), &all, c.object(t, j.Result.Whole.Object)); err != nil || fault != "" {
		t.Error("the file with all rows:", fault, err)
	}
}
