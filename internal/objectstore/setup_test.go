package objectstore_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/storage"

	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/objectstore"
)

// A bucket as a console makes it, with Google's defaults, keeps deleted files for a week; one with versions,
// for ever. Mend sets what Inspect finds wrong, says so, leaves rules of others alone, and then is done.
func TestMend(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	store := func(bucket, location string) *objectstore.Store {
		s, err := objectstore.Open(t.Context(), objectstore.Config{
			Bucket: bucket, EmulatorHost: cloud.Endpoints().Storage, ProjectID: localcloudtest.Project, Location: location, RetentionDays: 8,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	others := storage.Lifecycle{Rules: []storage.LifecycleRule{{
		Action: storage.LifecycleAction{Type: storage.DeleteAction}, Condition: storage.LifecycleCondition{AgeInDays: 1, MatchesPrefix: []string{"theirs/"}},
	}}}
	if err := cloud.Storage.Bucket("old").Create(t.Context(), localcloudtest.Project, &storage.BucketAttrs{Location: "us-east1", Lifecycle: others, VersioningEnabled: true}); err != nil {
		t.Fatal(err)
	}
	wrong := func(s *objectstore.Store) (names []string) {
		aspects, err := s.Inspect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range aspects {
			if a.Wrong != "" {
				names = append(names, a.Name)
			}
		}
		return names
	}
	old := store("old", "")
	if got, want := wrong(old), []string{"lifecycle", "soft delete", "versions", "uniform access", "public access"}; !slices.Equal(got, want) {
		t.Errorf("wrong with a bucket of Google's defaults and versions: %q, want %q", got, want)
	}
	changed, err := old.Mend(t.Context())
	if err != nil || len(changed) != 5 || !strings.Contains(changed[1], "soft delete of bucket old: it was 7 days") {
		t.Errorf("Mend = %q, %v", changed, err)
	}
	if changed, err := old.Mend(t.Context()); err != nil || len(changed) != 0 || len(wrong(old)) != 0 {
		t.Errorf("Mend again = %q, %v; wrong: %q", changed, err, wrong(old))
	}
	attrs, err := cloud.Storage.Bucket("old").Attrs(t.Context())
	if err != nil || len(attrs.Lifecycle.Rules) != 2 || attrs.SoftDeletePolicy.RetentionDuration != 0 || attrs.VersioningEnabled || attrs.Location != "US-EAST1" {
		t.Errorf("the bucket has %+v, %v", attrs, err)
	}
	elsewhere := store("old", "EU")
	if changed, err := elsewhere.Mend(t.Context()); err == nil || len(changed) != 0 || !strings.Contains(err.Error(), "is in US-EAST1, not in EU") {
		t.Errorf("Mend of a bucket elsewhere = %q, %v", changed, err)
	}
	fresh := store("fresh", "europe-west6")
	if changed, err := fresh.Mend(t.Context()); err != nil || len(changed) != 1 || len(wrong(fresh)) != 0 {
		t.Errorf("Mend of no bucket = %q, %v; wrong: %q", changed, err, wrong(fresh))
	}
	if attrs, err := cloud.Storage.Bucket("fresh").Attrs(t.Context()); err != nil || attrs.Location != "EUROPE-WEST6" {
		t.Errorf("the new bucket has %+v, %v", attrs, err)
	}
}

// TestBucketRules: the embedded server refuses what Cloud Storage refuses, and what it does not honour.
func TestBucketRules(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	for name, attrs := range map[string]*storage.BucketAttrs{
		"soft delete for a day":  {SoftDeletePolicy: &storage.SoftDeletePolicy{RetentionDuration: 24 * time.Hour}},
		"soft delete for a year": {SoftDeletePolicy: &storage.SoftDeletePolicy{RetentionDuration: 365 * 24 * time.Hour}},
		"nowhere":                {Location: "not a place"},
		"locked away":            {RetentionPolicy: &storage.RetentionPolicy{RetentionPeriod: time.Hour}},
	} {
		if err := cloud.Storage.Bucket("refused").Create(t.Context(), localcloudtest.Project, attrs); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
