package e2e

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"exportd/internal/e2e/e2etest"
	"exportd/jobs"
)

// TestQuotaUsedUp: Firestore can be read, and answers to every commit that a quota is used up, until the
// rescuers have lost their roles and all leases have run out. Callers are told to come again; and when
// commits go through, whatever was in hand or waited ends right, and soon: a worker that had lost its role
// paused for ten minutes.
func TestQuotaUsedUp(t *testing.T) {
	t.Parallel()
	const lease = 5 * time.Second
	_, hosts := e2etest.Emulators(t, exportd, t.TempDir(), "--control", "127.0.0.1:0")
	s := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: 200, Messages: 2000}, "EXPORTD_WAIT_SECONDS=0")
	for range 2 {
		e2etest.Worker(t, exportd, hosts, "EXPORTD_PART_ROWS=100", "EXPORTD_LEASE_SECONDS=5")
	}
	client := hosts.OpenFirestore(t)
	caller := s.Caller()
	_, want := caller.Export(t, "vip-messages", s.Messages())

	var ids []string
	for range 3 {
		ids = append(ids, caller.Submit(t, "vip-messages", s.Messages(), "Cache-Control", "no-cache"))
	}
	s.Faults(t, `{"rules": {"Firestore/Commit": {"errorRate": 1, "code": "RESOURCE_EXHAUSTED"}}}`)
	r := caller.Get(t, "/vip-messages/export", s.Messages(), "Cache-Control", "no-cache").Want(t, http.StatusServiceUnavailable)
	if r.Header.Get("Retry-After") == "" {
		t.Error("an export that cannot be stored is refused without Retry-After")
	}
	e2etest.Until(t, 2*jobs.RoleTTL+slack, "the rescuers' roles run out", func() bool {
		docs, err := client.Collection("ExportLeases").Where("kind", "==", "role").Documents(t.Context()).GetAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, doc := range docs {
			if until, _ := doc.Data()["until"].(time.Time); time.Now().Before(until.Add(lease)) {
				return false
			}
		}
		return len(docs) > 0
	})
	s.Faults(t, `{}`)
	ids = append(ids, caller.Submit(t, "vip-messages", s.Messages(), "Cache-Control", "no-cache"))

	// A rescuer looks again within a role's time; what it finds is due when the clocks' allowance of 5 s
	// after a lease is over, or has a message that was lost and is published again after 15 s, twice: for job
	// and part.
	const within = jobs.RoleTTL + lease + 5*time.Second + 2*15*time.Second + slack
	for _, id := range ids {
		j := caller.Await(t, id, within)
		if j.State != "succeeded" || j.CSVURL == nil {
			t.Errorf("job %s is %s: %+v", id, j.State, j.Error)
			continue
		}
		if file := e2etest.Download(t, *j.CSVURL).Body; !bytes.Equal(file, want) {
			t.Errorf("the file of job %s has %d bytes, and %d were exported before", id, len(file), len(want))
		}
	}
}
