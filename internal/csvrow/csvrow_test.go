package csvrow_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"exportd/internal/csvrow"
	"exportd/internal/csvrow/csvrowtest"
	"exportd/jobs"
)

var kinds = []jobs.Kind{jobs.KindUsers, jobs.KindMessages}

// check compares a row with the judge's.
func check(t *testing.T, kind jobs.Kind, opts csvrow.Options, id string, fields map[string]any, r *rand.Rand) {
	t.Helper()
	e := csvrow.NewEncoder(kind, opts)
	doc := csvrowtest.Shuffled(r, "projects/p/databases/(default)/documents/C/"+id, fields)
	got, err := e.AppendRow([]byte("before"), doc)
	if err != nil {
		t.Fatalf("AppendRow(%v): %v", fields, err)
	}
	want, guarded := csvrowtest.Row(kind, id, fields, opts.FormulaGuard)
	if want = append([]byte("before"), want...); !bytes.Equal(got, want) {
		t.Errorf("AppendRow(%s %q) =\n%q, want\n%q", kind, fields, got, want)
	}
	if e.Guarded() != guarded {
		t.Errorf("Guarded() after %q = %d, want %d", fields, e.Guarded(), guarded)
	}
}

// FuzzRow compares random documents, valid and odd, with the judge.
func FuzzRow(f *testing.F) {
	for seed := range uint64(200) {
		f.Add(seed, "=1+1", " @x\x00")
	}
	f.Fuzz(func(t *testing.T, seed uint64, s1, s2 string) {
		r := rand.New(rand.NewPCG(seed, 1))
		id := "id" + s2
		if bytes.IndexByte([]byte(id), '/') >= 0 {
			id = "id"
		}
		fields := csvrowtest.RandomFields(r, []string{s1, s2})
		check(t, kinds[seed%2], csvrow.Options{FormulaGuard: seed%3 > 0}, id, fields, r)
	})
}
