package telemetry

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestDamageIsToldOnce: a document that is read a thousand times is one line and one count, until somebody
// writes it again; and what is remembered is bounded.
func TestDamageIsToldOnce(t *testing.T) {
	t.Parallel()
	core, lines := observer.New(zap.WarnLevel)
	d := NewDamage(zap.New(core))
	at := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	registry := prometheus.NewRegistry()
	registry.MustRegister(d)
	counted := func() (leases, series int) {
		families, err := registry.Gather()
		if err != nil || len(families) != 1 {
			t.Fatal(families, err)
		}
		for _, m := range families[0].GetMetric() {
			if m.GetLabel()[0].GetValue() == string(LeaseDocument) {
				leases = int(m.GetCounter().GetValue())
			}
		}
		return leases, len(families[0].GetMetric())
	}
	for range 1000 {
		d.Note(LeaseDocument, "ExportLeases/x", at, "until is of another type")
	}
	d.Note(LeaseDocument, "ExportLeases/y", at, "")
	if n, series := counted(); lines.Len() != 2 || n != 2 || series != len(DocumentKinds) {
		t.Errorf("%d lines, %d counted in %d series; want 2, 2, %d", lines.Len(), n, series, len(DocumentKinds))
	}
	d.Note(LeaseDocument, "ExportLeases/x", at.Add(time.Microsecond), "again")
	if n, _ := counted(); lines.Len() != 3 || n != 3 {
		t.Errorf("after it was written again: %d lines, %d counted; want 3, 3", lines.Len(), n)
	}
	d.Told("ExportLeases/x", at.Add(time.Second))
	d.Note(LeaseDocument, "ExportLeases/x", at.Add(time.Second), "again")
	if n, _ := counted(); lines.Len() != 3 || n != 3 {
		t.Errorf("after exportd itself wrote it: %d lines, %d counted; want 3, 3", lines.Len(), n)
	}
	for i := range 3 * maxRemembered {
		d.Note(JobDocument, fmt.Sprint(i), at, "")
		if n := len(d.told) + len(d.old); n > maxRemembered {
			t.Fatalf("%d documents are remembered", n)
		}
	}
	(*Damage)(nil).Note(JobDocument, "x", at, "") // tells nobody
	(*Damage)(nil).Told("x", at)
}
