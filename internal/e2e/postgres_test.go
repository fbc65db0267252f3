//go:build postgres

package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"exportd/internal/e2e/e2etest"
	"exportd/internal/machinetest"
	"exportd/jobs"
)

// TestPostgres: PostgreSQL's COPY reads the stored values. `make postgres` runs it.
func TestPostgres(t *testing.T) {
	t.Parallel()
	bin := e2etest.PostgresBin()
	if bin == "" {
		machinetest.Lacks(t, "PostgreSQL (initdb, postgres, psql)")
	}
	db := e2etest.StartPostgres(t, bin)
	s := e2etest.Demo(t, exportd, t.TempDir(), e2etest.Sizes{Users: 300, Messages: 1000})
	copyIn := func(t *testing.T, kind jobs.Kind, file []byte) [][]string {
		return db.Copy(t, strings.Split(e2etest.Header(kind), ","), file)
	}
	readsBack(t, s, copyIn)
	endMarks(t, s, copyIn)
}

// endMarks: \. alone on a line ends the input of a COPY, as a text it must not.
func endMarks(t *testing.T, s *e2etest.Stack, read func(t *testing.T, kind jobs.Kind, file []byte) [][]string) {
	client := s.OpenFirestore(t)
	const label = "ai_end_mark"
	from, err := time.Parse(time.DateOnly, s.From)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`\.`, "before\n\\.\nafter", "\\.\n", "before\r\n\\.\r\nafter", `\N`, "\\"}
	for i, text := range want {
		_, err := client.Collection("VipMessages").NewDoc().Set(t.Context(), map[string]any{
			"workspaceId": s.WorkspaceID, "mediumId": s.MediumID, "labels": []string{label}, "text": text,
			"timestamp": from.Add(time.Hour - time.Duration(i)*time.Second), // newest first, as in the file
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	_, file := s.Caller().Export(t, string("vip-messages"), s.Messages("label", label))
	var got []string
	for _, row := range read(t, "vip-messages", file)[1:] {
		got = append(got, row[6])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stored (-) and read back (+) differ:\n%s", diff)
	}
}
