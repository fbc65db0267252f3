package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"exportd/internal/dataset"
	"exportd/internal/export"
	"exportd/internal/objectstore/crc32c"
	"exportd/internal/records"
	"exportd/jobs"
)

// inParts are the parts of the file of succeeded, of which an earlier build has written the second.
func inParts() []*jobs.Part {
	return []*jobs.Part{
		{State: jobs.PartDone, Rows: 1, Size: 40, CRC32C: 1, Object: "one", Digest: &jobs.Digest{Object: "one", SHA256: strings.Repeat("0a", 32)}},
		{Index: 1, State: jobs.PartDone, Rows: 2, Size: 59, CRC32C: crc32c.Combine(1, 0, 59) ^ 1},
	}
}

// TestManifest: the columns are those of the file, in its order and with their types, the parts are those
// that it is made of, and what cannot be counted any more is null.
func TestManifest(t *testing.T) {
	t.Parallel()
	all := strings.Join(dataset.VIPUsers.Headers(), " ")
	for name, tc := range map[string]struct {
		params    jobs.Params
		parts     []*jobs.Part
		without   int64
		err       error
		columns   string
		dialect   string
		wantParts int
	}{
		"plain": {columns: all, without: 2, dialect: `, true`, wantParts: 1},
		"chosen": {params: jobs.Params{"columns": "tags,ltv", "delimiter": "semicolon", "header": "off"}, without: -1, columns: "tags ltv", dialect: `; false`,
			wantParts: 1},
		"JSONL in parts": {params: jobs.Params{"format": "jsonl"}, columns: all, err: fmt.Errorf("count: %w", records.ErrSnapshotTooOld), parts: inParts(), wantParts: 2},
		"damaged parts":  {params: jobs.Params{"format": "jsonl"}, columns: all, without: 2, parts: append(inParts(), &jobs.Part{Index: 2, Damage: "a list"}), wantParts: 1},
		"changes": {params: jobs.Params{"since": jobs.NewID()}, without: 5, err: errors.New("nobody counts"), columns: "change " + all, dialect: ", true", wantParts: 1,
			parts: []*jobs.Part{{State: jobs.PartDone, Rows: 100}, {Index: 1, State: jobs.PartDone, Rows: 100}}},
		"chosen, JSONL":   {params: jobs.Params{"format": "jsonl", "columns": "tags,city,ltv", "timezone": "Asia/Tokyo"}, columns: "tags city ltv", wantParts: 1},
		"chosen, Parquet": {params: jobs.Params{"format": "parquet", "columns": "city,tags"}, columns: "city tags _rescued_data", wantParts: 1},
		"Parquet":         {params: jobs.Params{"format": "parquet"}, columns: all + " _rescued_data", wantParts: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, func(c *Config) {
				c.Quotes = &fakeQuoter{quote: export.Quote{WithoutSortField: tc.without}, err: tc.err}
			})
			j := succeeded()
			for n, v := range tc.params {
				j.Params = j.Params.With(n, v)
			}
			b.jobs.set(j)
			b.jobs.parts = tc.parts
			w := b.get(t, "/exports/"+j.ID+"/manifest")
			wantStatus(t, w, http.StatusOK)
			var m manifestView
			if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, c := range m.TableSchema.Columns {
				names = append(names, c.Name)
				want := map[string]string{"ltv": "number", "tags": "string", "firstSeenAt": "dateTimeStamp", "birthday": "date", "_rescued_data": "json"}[c.Name]
				if want != "" && c.Datatype != want || (c.Separator == ";") != (c.Name == "tags" && m.Dialect != nil) || c.Name == "city" && c.Path != "personalInfo.city" {
					t.Errorf("column %+v", c)
				}
			}
			dialect := ""
			if m.Dialect != nil {
				dialect = fmt.Sprint(m.Dialect.Delimiter, " ", m.Dialect.Header)
			}
			if got := strings.Join(names, " "); got != tc.columns || dialect != tc.dialect || len(m.Parts) != tc.wantParts || m.Rows != 3 || m.SizeBytes != 99 || m.CRC32C != "AAAAAQ==" {
				t.Errorf("manifest = %s", w.Body)
			}
			first, last := m.Parts[0], m.Parts[len(m.Parts)-1]
			if last.Offset+last.SizeBytes != 99 || first.Offset != 0 || (first.SHA256 != nil) != (len(m.Parts) == 2) || last.SHA256 != nil || m.SHA256 != nil {
				t.Errorf("parts are %s", w.Body)
			}
			if known := tc.without >= 0 && tc.err == nil; (m.WithoutSortField != nil) != known || known && *m.WithoutSortField != tc.without {
				t.Errorf("without sort field: %v", m.WithoutSortField)
			}
		})
	}
	b := newBench(t)
	j := succeeded()
	sum := strings.Repeat("0a", 32)
	j.Result.Digest = &jobs.Digest{Object: j.Result.Object, SHA256: sum}
	b.jobs.set(j)
	if body := b.get(t, "/exports/"+j.ID+"/manifest").Body.String(); strings.Count(body, `"sha256":"`+sum+`"`) != 2 {
		t.Errorf("the manifest of a file that was written at once is %s", body)
	}
	j.Params, j.Result.GuardedCells = j.Params.With("columns", "city,ltv,displayName"), 5
	for _, tc := range []struct {
		by   *jobs.GuardedBy
		want string
	}{
		{&jobs.GuardedBy{Object: j.Result.Object, Columns: map[string]int64{"city": 3, "displayName": 2}}, "3 0 2"},
		{nil, "- - -"},
		{&jobs.GuardedBy{Object: j.Result.Object + "x", Columns: map[string]int64{"city": 5}}, "- - -"},
		{&jobs.GuardedBy{Object: j.Result.Object, Columns: map[string]int64{"city": 4}}, "- - -"},
	} {
		j.Result.GuardedBy = tc.by
		b.jobs.set(j)
		var m manifestView
		if err := json.Unmarshal(b.get(t, "/exports/"+j.ID+"/manifest").Body.Bytes(), &m); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range m.TableSchema.Columns {
			got = append(got, "-")
			if c.GuardedCells != nil {
				got[len(got)-1] = strconv.FormatInt(*c.GuardedCells, 10)
			}
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("of %+v the manifest has the guarded cells %v, want %s", tc.by, got, tc.want)
		}
	}
	j = succeeded()
	j.Params = j.Params.With("profile", "excel").With(jobs.ParamExcelForm, jobs.ExcelUTF16)
	j.SheetRows = 2
	b.jobs.set(j)
	plain := &jobs.Plain{Size: 50, CRC32: 9}
	b.jobs.parts = []*jobs.Part{{State: jobs.PartDone, Rows: 2, Size: 40, Plain: plain}, {Index: 1, State: jobs.PartDone, Rows: 1, Size: 20, Plain: plain}}
	var m manifestView
	w := b.get(t, "/exports/"+j.ID+"/manifest")
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
		t.Fatal(err)
	}
	if len(m.Files) != 2 || m.Files[0].Rows != 2 || m.Files[1].Rows != 1 || m.Files[1].Name != j.SheetName(2) || m.Files[1].SizeBytes <= 50 || len(m.Files[1].CRC32) != 8 ||
		m.MediaType != "application/zip" || !strings.HasSuffix(m.URL, ".zip") || m.Dialect.Encoding != "utf-16" {
		t.Errorf("the manifest of a zip is %s", w.Body)
	}
	b.jobs.parts[1].Damage = "a list" // nobody knows any more
	if w := b.get(t, "/exports/"+j.ID+"/manifest"); w.Code != http.StatusOK || strings.Contains(w.Body.String(), `"files"`) {
		t.Errorf("the manifest of a zip with a damaged part is %s", w.Body)
	}
	j = succeeded()
	j.Columns = dataset.VIPUsers.Version + 1
	b.jobs.set(j)
	wantStatus(t, b.get(t, "/exports/"+j.ID+"/manifest"), http.StatusConflict)
}
