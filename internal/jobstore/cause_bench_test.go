package jobstore_test

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"exportd/internal/jobstore"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
)

// BenchmarkCauses reads a page of 50 of 500 causes, which 100,000 failed jobs share.
func BenchmarkCauses(b *testing.B) {
	client := localcloudtest.Start(b).Firestore
	now := time.Now().UTC().Truncate(time.Microsecond)
	store := jobstore.New(jobstore.Config{Client: client, Policy: policy()})
	bulk := client.BulkWriter(b.Context())
	for i := range 100_000 {
		c := jobs.Cause{Code: jobs.CodeMissingIndex, What: fmt.Sprint("index ", i%500)}
		at := now.Add(-time.Duration(i) * 100 * time.Millisecond)
		if i < 500 {
			if _, err := bulk.Set(client.Collection("ExportCauses").Doc(c.ID()), map[string]any{
				"code": c.Code, "what": c.What, "message": "m", "remedy": "r", "firstMicros": at.UnixMicro(), "lastAt": at, "expiresAt": now.Add(time.Hour)}); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := bulk.Set(client.Collection("ExportJobs").Doc(jobs.NewID()), map[string]any{
			"schema": 1, "orgId": fmt.Sprint("org", i%100), "kind": "vip-users", "state": "failed", "createdAt": at, "finishedAt": at, "error": map[string]any{"code": c.Code, "cause": c.ID()}}); err != nil {
			b.Fatal(err)
		}
	}
	bulk.End()
	for b.Loop() {
		page, _, err := store.Causes(b.Context(), now.Add(-24*time.Hour), 50, "")
		if err != nil || len(page) != 50 {
			b.Fatal(len(page), err)
		}
		var g errgroup.Group
		g.SetLimit(16)
		for _, n := range page {
			g.Go(func() error {
				got, err := store.CauseCases(b.Context(), jobs.CauseQuery{ID: n.ID(), From: now.Add(-24 * time.Hour), To: now.Add(time.Hour)})
				if err == nil && got.Count != 200 {
					err = fmt.Errorf("%d cases", got.Count)
				}
				return err
			})
		}
		if err := g.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}
