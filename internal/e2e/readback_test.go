package e2e

import (
	"bytes"
	"encoding/json"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/e2e/e2etest"
	"exportd/internal/machinetest"
	"exportd/jobs"
)

// readsBack exports the demo data, hazards and all, and compares what another program reads in the files with
// the stored values. read returns all rows of a file, header first; an absent value is "", since a file
// cannot tell one from an empty text.
func readsBack(t *testing.T, s *e2etest.Stack, read func(t *testing.T, kind jobs.Kind, file []byte) [][]string) {
	same := func(kind jobs.Kind, query url.Values, want [][]string) {
		t.Helper()
		query.Set("formulaGuard", "off")
		_, file := s.Caller().Export(t, string(kind), query)
		want = append([][]string{strings.Split(e2etest.Header(kind), ",")}, want...)
		if diff := cmp.Diff(want, read(t, kind, file), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s %v: stored (-) and read back (+) differ:\n%.4000s", kind, query, diff)
		}
	}
	for _, kind := range []jobs.Kind{"vip-users", "vip-messages"} {
		query := s.Users()
		if kind == "vip-messages" {
			query = s.Messages()
		}
		var want [][]string
		for _, row := range s.Stored(t, kind) {
			cells, _ := csvrowtest.Cells(kind, row.ID, row.Fields, false)
			want = append(want, cells)
		}
		same(kind, query, want)
	}
	long := s.Messages("workspaceId", s.SideWorkspaceID, "mediumId", s.SideMediumID) // texts of 98 kB
	want, _ := s.Caller().ListAll(t, string("vip-messages"), long)
	same("vip-messages", long, want)
}

// pythonReadsItBack: Python's csv module reads the stored values.
func pythonReadsItBack(t *testing.T, s *e2etest.Stack) {
	python := machinetest.Program(t, "python3")
	const program = `
import csv, io, json, sys
csv.field_size_limit(1 << 30)
text = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", newline="")
json.dump(list(csv.reader(text, strict=True)), sys.stdout)
`
	readsBack(t, s, func(t *testing.T, _ jobs.Kind, file []byte) (rows [][]string) {
		cmd := exec.CommandContext(t.Context(), python, "-c", program)
		cmd.Stdin = bytes.NewReader(file)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("python: %v\n%s", err, stderr.Bytes())
		}
		if err := json.Unmarshal(out, &rows); err != nil {
			t.Fatalf("python wrote %.300q: %v", out, err)
		}
		return rows
	})
}
