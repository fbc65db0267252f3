package main

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"exportd/jobs"
)

// crashBeforeComposing kills the only worker when it has written what follows the parts of a file, and not
// yet laid them end to end: the next one finds that object there, and the file is whole, once, and leaves
// nothing but itself.
func crashBeforeComposing(t *testing.T, c *crashCase) {
	c.submitAs(t, "", jobs.Params{jobs.ParamFormat: jobs.FormatParquet, jobs.ParamFormulaGuard: false})
	if !c.runUntilCrash(t) {
		t.Fatal("the worker has composed nothing")
	}
	end := false
	for o, err := range c.in.objects.List(t.Context(), "exports/") {
		if err != nil {
			t.Fatal(err)
		}
		end = end || strings.HasSuffix(o.Name, ".end")
	}
	if !end {
		t.Error("the footer was not written before the crash")
	}
	before := c.doneParts(t)
	c.submitAs(t, "", jobs.Params{jobs.ParamFormat: jobs.FormatJSONL, jobs.ParamFormulaGuard: false})
	c.submitAs(t, "", jobs.Params{jobs.ParamCompression: jobs.CompressionGzip, jobs.ParamFormulaGuard: true})
	c.runToTheEnd(t)
	if kept := c.checkKept(t, before); kept != 4 {
		t.Errorf("%d parts were done before the crash, want 4", kept)
	}
	var want []string // the newest first
	for i := range 350 {
		want = append(want, fmt.Sprintf("message-%05d", 349-i))
	}
	crashBetweenSheets(t, c)
	for i, read := range []func(*testing.T, []byte) []string{parquetIDs, jsonlIDs, gzipIDs} {
		j, err := c.store.Get(t.Context(), c.jobs[i])
		if err != nil {
			t.Fatal(err)
		}
		if j.State != jobs.Succeeded || j.Attempt != 1 || j.PartsTotal != 4 {
			t.Fatalf("job = %+v", j)
		}
		if got := read(t, c.object(t, j.Result.Object)); !slices.Equal(got, want) {
			t.Errorf("job %d has %d rows: %.200q", i, len(got), got)
		}
	}
}

// crashBetweenSheets kills the worker when all that a zip of sheets has around its parts is there, and the
// zip is not.
func crashBetweenSheets(t *testing.T, c *crashCase) {
	t.Helper()
	c.submission(t, jobs.Submission{OrgID: "org", KeyID: crashKey, Kind: "vip-messages", Params: jobs.Params{
		"workspaceId": "w", "mediumId": "m", "from": day, "to": day.AddDate(0, 0, 2), jobs.ParamFormulaGuard: true,
		jobs.ParamProfile: jobs.ProfileExcel, jobs.ParamExcelForm: jobs.ExcelUTF16,
	}})
	if !c.runUntilCrash(t) {
		t.Fatal("the worker has composed no zip")
	}
	id, around := c.jobs[len(c.jobs)-1], 0
	for o, err := range c.in.objects.List(t.Context(), "exports/org/"+id) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(o.Name, ".zip.") {
			around++
		}
	}
	before := c.doneParts(t)
	c.runToTheEnd(t)
	c.checkKept(t, before)
	j, err := c.store.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if j.State != jobs.Succeeded || j.Attempt != 1 || j.SheetRows != 200 || around < 3 {
		t.Fatalf("job = %+v, of which %d objects were around its parts", j, around)
	}
	c.checkFile(t, j)
}

func (c *crashCase) object(t *testing.T, name string) []byte {
	t.Helper()
	r, err := c.in.objects.NewReader(t.Context(), name, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	all, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func parquetIDs(t *testing.T, file []byte) (ids []string) {
	t.Helper()
	rows, err := parquet.Read[struct {
		ID string `parquet:"id"`
	}](bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		ids = append(ids, row.ID)
	}
	return ids
}

func gzipIDs(t *testing.T, file []byte) (ids []string) {
	t.Helper()
	plain, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(plain).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows[1:] {
		ids = append(ids, row[0])
	}
	return ids
}

func jsonlIDs(t *testing.T, file []byte) (ids []string) {
	t.Helper()
	for line := range bytes.Lines(file) {
		var row struct{ ID string }
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, row.ID)
	}
	return ids
}
