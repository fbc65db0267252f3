package export

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"testing"

	"exportd/internal/inmemory"
	"exportd/jobs"
)

// ended is a form whose files end with a line that tells of their parts.
var ended = form{contentType: "text/plain", finish: func(_ context.Context, _ Objects, j *jobs.Job, parts []*jobs.Part) ([]byte, error) {
	end := []byte(j.ID)
	for _, p := range parts {
		end = fmt.Appendf(end, " %d", p.Size)
	}
	return end, nil
}}

// TestComposeWithAnEnd: what a format ends with stands behind the parts, counts in size and checksum, is
// written anew with the same bytes after a crash, and is among the objects to be deleted.
func TestComposeWithAnEnd(t *testing.T) {
	t.Parallel()
	objects := inmemory.NewObjects()
	e := New(nil, objects, Config{})
	j := &jobs.Job{ID: jobs.NewID(), OrgID: "o", PartsTotal: 2, RowsTotal: 3}
	var parts []*jobs.Part
	for i, text := range []string{"one,", "three,"} {
		w := objects.Create(t.Context(), fmt.Sprint(i), jobs.ObjectAttrs{})
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
		o, err := w.Commit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, &jobs.Part{Index: i, State: jobs.PartDone, Rows: int64(1 + i), Object: o.Name, Size: o.Size, CRC32C: o.CRC32C})
	}
	parts[0].To, parts[1].From = "edge", "edge"
	want := []byte("one,three," + j.ID + " 4 6")
	for range 2 {
		res, names, err := e.compose(t.Context(), ended, j, parts, "file")
		if err != nil || res.Rows != 3 || res.Size != int64(len(want)) || res.CRC32C != crc32.Checksum(want, crc32.MakeTable(crc32.Castagnoli)) {
			t.Fatalf("compose() = %+v, %v", res, err)
		}
		if !slices.Equal(names, []string{"0", "1", "file.end"}) {
			t.Errorf("it is made of %v", names)
		}
		r, err := objects.NewReader(t.Context(), "file", 0)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("the file is %q, %v, want %q", got, err, want)
		}
	}
}
