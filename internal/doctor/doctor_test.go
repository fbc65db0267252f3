package doctor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"exportd/internal/doctor"
)

func TestExamine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun, stuck := time.Now(), make(chan struct{})
		defer close(stuck)
		checks := []doctor.Check{
			{Name: "good", Run: func(context.Context) (string, error) { return "as it should be", nil }},
			{Name: "bad", Remedy: "mend it", Where: "127.0.0.1:1", Run: func(context.Context) (string, error) { return "", errors.New("broken\nin two") }},
			{Name: "own remedy", Remedy: "mend it", Run: func(context.Context) (string, error) { return "", doctor.Fault(errors.New("odd"), "mend that") }},
			{Name: "skipped", Remedy: "mend it", Run: func(context.Context) (string, error) { return "", doctor.Skip("not %s", "here") }},
			{Name: "risky", Remedy: "undo it", Where: "10.0.0.3:443", Run: func(context.Context) (string, error) { return "", doctor.Warn("%s is on", "it") }},
			{Name: "slow", Remedy: "wait", Where: "10.0.0.1:443", Run: func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() }},
			{Name: "deaf", Where: "10.0.0.2:443", Run: func(context.Context) (string, error) { <-stuck; return "", nil }},
		}
		for range 50 {
			checks = append(checks, doctor.Check{Name: "one of many", Run: func(context.Context) (string, error) { return "", nil }})
		}
		fs := doctor.Examine(t.Context(), 10*time.Second, checks)
		if took := time.Since(begun); took > 11*time.Second {
			t.Errorf("took %s", took)
		}
		for i, want := range []doctor.Finding{
			{Name: "good", State: doctor.OK, Found: "as it should be"},
			{Name: "bad", State: doctor.Bad, Found: "broken\nin two (127.0.0.1:1)", Remedy: "mend it"},
			{Name: "own remedy", State: doctor.Bad, Found: "odd", Remedy: "mend that"},
			{Name: "skipped", State: doctor.Skipped, Found: "not here"},
			{Name: "risky", State: doctor.Warning, Found: "it is on", Remedy: "undo it"},
			{Name: "slow", State: doctor.Bad, Found: "no answer within 10s (10.0.0.1:443)", Remedy: "wait"},
			{Name: "deaf", State: doctor.Bad, Found: "no answer within 10s (10.0.0.2:443)"},
			{Name: "one of many", State: doctor.OK},
		} {
			if fs[i] != want {
				t.Errorf("finding %d = %+v, want %+v", i, fs[i], want)
			}
		}
		var table, asJSON bytes.Buffer
		if err := errors.Join(doctor.WriteTable(&table, fs), doctor.WriteJSON(&asJSON, fs)); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(table.String(), "\n"); n != len(checks)+1 || !strings.Contains(table.String(), "broken in two (127.0.0.1:1)  -> mend it\n") || !strings.Contains(table.String(), "it is on  -> undo it\n") || !strings.Contains(table.String(), "51 ok, 4 bad, 1 to be warned of, 1 skipped\n") {
			t.Errorf("%d lines:\n%s", n, &table)
		}
		var back []doctor.Finding
		if err := json.Unmarshal(asJSON.Bytes(), &back); err != nil || len(back) != len(fs) || back[1] != fs[1] {
			t.Errorf("JSON = %s, %v", &asJSON, err)
		}
	})
}
