package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"exportd/api/client"
)

// dryRun: what an export would come to is what it comes to, and no job is made for knowing it.
func (s *service) dryRun(t *testing.T) {
	jobs := s.ctl(t, "jobs", "list", "--json").want(t, exitOK).stdout
	if text := s.ctl(t, "export", "vip-messages", "--dry-run").want(t, exitOK).stdout; !strings.Contains(text, " rows, about ") || !strings.Contains(text, "Firestore bills about ") {
		t.Errorf("in words:\n%s", text)
	}
	var q client.Quote
	if err := json.Unmarshal([]byte(s.ctl(t, "export", "vip-messages", "--dry-run", "--no-cache", "--json").want(t, exitOK).stdout), &q); err != nil {
		t.Fatal(err)
	}
	if after := s.ctl(t, "jobs", "list", "--json").want(t, exitOK).stdout; countJobs(t, after) != countJobs(t, jobs) {
		t.Errorf("a dry run has made a job: %s", after)
	}
	file := filepath.Join(t.TempDir(), "m.csv")
	s.ctl(t, "export", "vip-messages", "--no-cache", "-o", file).want(t, exitOK)
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if off := float64(q.EstimatedBytes) / float64(info.Size()); off < 0.9 || off > 1.1 || q.AttachesTo != nil || len(q.Refusals) > 0 || q.Rows < 400 || !q.OpensInExcel {
		t.Errorf("quoted %+v, and the file has %d bytes", q, info.Size())
	}
	var made struct{ Jobs []client.Job }
	if err := json.Unmarshal([]byte(s.ctl(t, "jobs", "list", "-n", "1", "--json").want(t, exitOK).stdout), &made); err != nil || len(made.Jobs) != 1 {
		t.Fatal(err, made)
	}
	id := made.Jobs[0].JobID
	var m client.Manifest
	if err := json.Unmarshal([]byte(s.ctl(t, "jobs", "manifest", id, "--json").want(t, exitOK).stdout), &m); err != nil || m.Rows != q.Rows || m.SizeBytes != info.Size() || m.JobID != id {
		t.Errorf("manifest = %+v, %v", m, err)
	}
	if shown := s.ctl(t, "jobs", "manifest", id).want(t, exitOK).stdout; !strings.Contains(shown, "labels") || !strings.Contains(shown, m.Crc32C) {
		t.Errorf("manifest = %s", shown)
	}
	if r := s.ctl(t, "jobs", "verify", id, file).want(t, exitOK); !strings.Contains(r.stderr, "each part is as it was written") {
		t.Errorf("verify says %q", r.stderr)
	}
	s.ctl(t, "jobs", "verify", id).want(t, exitUsage)
	s.ctl(t, "__complete", "jobs", "verify", "").want(t, exitOK).shows(t, id+"\tsucceeded")
	s.ctl(t, "__complete", "jobs", "verify", id, "").want(t, exitOK).shows(t, ":0") // files
	flipped, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	flipped[len(flipped)/2] ^= 1
	if err := os.WriteFile(file, flipped, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := s.ctl(t, "jobs", "verify", id, file).want(t, exitFailed); !strings.Contains(r.stderr, "1 part is not as the service wrote it") || !strings.Contains(r.stderr, "exportctl --profile "+s.demo+" jobs download "+id) {
		t.Errorf("verify of a flipped bit says %q", r.stderr)
	}
	var attached client.Quote // to the export that has just been made
	if err := json.Unmarshal([]byte(s.ctl(t, "export", "vip-messages", "--dry-run", "--json").want(t, exitOK).stdout), &attached); err != nil {
		t.Fatal(err)
	}
	if attached.AttachesTo == nil || attached.AttachesTo.State != client.StateSucceeded || attached.Rows != q.Rows {
		t.Errorf("quoted again %+v, want to attach", attached)
	}
	s.ctl(t, "export", "vip-messages", "--dry-run", "-o", file).want(t, exitUsage)
	t.Logf("%d rows, %d bytes quoted, %d written; %.1f s, %d reads", q.Rows, q.EstimatedBytes, info.Size(), q.EstimatedSeconds, q.EstimatedReads)
}

// TestQuoteText: people are told what a quote waits for, and nothing of what it does not.
func TestQuoteText(t *testing.T) {
	t.Parallel()
	q := &client.Quote{Rows: 3, EstimatedBytes: 100, EstimatedSeconds: 2, OpensInExcel: true}
	if text := quoteText(q); strings.Contains(text, "before it") || strings.Contains(text, "worker") {
		t.Errorf("waits for nothing:\n%s", text)
	}
	q.JobsAhead, q.WaitsForWorker = 2, true
	if text := quoteText(q); !strings.Contains(text, "2 exports of your org before it.") || !strings.Contains(text, "No worker is there") {
		t.Errorf("waits:\n%s", text)
	}
}

func countJobs(t *testing.T, page string) int {
	t.Helper()
	var list struct{ Jobs []json.RawMessage }
	if err := json.Unmarshal([]byte(page), &list); err != nil {
		t.Fatal(err)
	}
	return len(list.Jobs)
}
