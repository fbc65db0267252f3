package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/parquet-go/parquet-go"

	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/e2e/e2etest"
	"exportd/jobs"
)

// TestFormatsInParts: files of many parts, whose worker is killed on the way and followed by another, have
// each cell too.
func TestFormatsInParts(t *testing.T) {
	t.Parallel()
	_, hosts := e2etest.Emulators(t, exportd, t.TempDir())
	s := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: 700, Messages: 3000}, "EXPORTD_RATE_KEY_PER_SECOND=0")
	settings := []string{"EXPORTD_PART_ROWS=100", "EXPORTD_LEASE_SECONDS=3", "EXPORTD_PART_WINDOW=2"}
	first := e2etest.Worker(t, exportd, hosts, settings...)
	id := s.Caller().Submit(t, "vip-messages", with(s.Messages(), "format", "parquet"))
	for job := s.Caller().Job(t, id, ""); job.Progress.PartsDone < 3 && !job.Ended(); job = s.Caller().Job(t, id, "") {
		runtime.Gosched()
	}
	first.Kill()
	e2etest.Worker(t, exportd, hosts, settings...)
	job := s.Caller().Await(t, id, 2*time.Minute)
	if job.State != "succeeded" || job.Progress.PartsTotal < 10 {
		t.Fatalf("the job is %s, of %d parts: %+v", job.State, job.Progress.PartsTotal, job.Error)
	}
	stored := s.Stored(t, "vip-messages")
	if rows := readParquet(t, []string{"id"}, e2etest.Download(t, *job.CSVURL).Body); len(rows) != len(stored) {
		t.Errorf("%d rows, stored are %d", len(rows), len(stored))
	}
	formatsAgree(t, s)
}

// formatsAgree exports the demo data, hazards and all, as JSONL and as Parquet, and compares each cell with
// what is stored.
func formatsAgree(t *testing.T, s *e2etest.Stack) {
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
		for format, read := range map[string]func(*testing.T, []string, []byte) [][]string{"jsonl": readJSONL, "parquet": readParquet} {
			asked := maps.Clone(query)
			asked.Set("format", format)
			job, file := s.Caller().Export(t, string(kind), asked)
			t.Logf("%s as %s: %d rows in %d parts, %d bytes", kind, format, len(want), job.Progress.PartsTotal, len(file))
			if diff := cmp.Diff(want, read(t, strings.Split(e2etest.Header(kind), ","), file), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s as %s: stored (-) and exported (+) differ:\n%.4000s", kind, format, diff)
			}
			asked.Set("formulaGuard", "off")
			s.Caller().Get(t, "/"+string(kind)+"/export", asked).Want(t, 422)
		}
	}
	s.Caller().Get(t, "/vip-users/export", with(s.Users(), "format", "xlsx")).Want(t, 422)
}

func with(query url.Values, name, value string) url.Values {
	query = maps.Clone(query)
	query.Set(name, value)
	return query
}

// cellOf is a value as a cell of CSV has it.
func cellOf(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case json.Number:
		return v.String()
	case []any:
		texts := make([]string, len(v))
		for i, e := range v {
			texts[i] = strings.NewReplacer(`\`, `\\`, `;`, `\;`).Replace(cellOf(e))
		}
		return strings.Join(texts, ";")
	}
	return strings.ReplaceAll(v.(string), "\x00", "\u2400")
}

func readJSONL(t *testing.T, header []string, file []byte) (rows [][]string) {
	t.Helper()
	for d := json.NewDecoder(bytes.NewReader(file)); ; {
		d.UseNumber()
		var row map[string]any
		if err := d.Decode(&row); errors.Is(err, io.EOF) {
			return rows
		} else if err != nil {
			t.Fatal(err)
		}
		if person, ok := row["personalInfo"].(map[string]any); ok {
			maps.Copy(row, person)
		}
		var cells []string
		for _, name := range header {
			cells = append(cells, cellOf(row[name]))
		}
		rows = append(rows, cells)
	}
}

func readParquet(t *testing.T, header []string, file []byte) (rows [][]string) {
	t.Helper()
	r := parquet.NewGenericReader[any](bytes.NewReader(file))
	defer r.Close()
	fields := r.Schema().Fields()
	batch := make([]parquet.Row, 100)
	for {
		n, err := r.ReadRows(batch)
		for _, row := range batch[:n] {
			values := map[string]any{}
			for i, column := range row.Range {
				values[fields[i].Name()] = parquetValue(fields[i], column)
			}
			if rescued, ok := values["_rescued_data"].(string); ok {
				if err := json.Unmarshal([]byte(rescued), &values); err != nil {
					t.Fatal(err)
				}
			}
			var cells []string
			for _, name := range header {
				cells = append(cells, cellOf(values[name]))
			}
			rows = append(rows, cells)
		}
		if errors.Is(err, io.EOF) {
			return rows
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// parquetValue is a value in the form that it has in JSONL.
func parquetValue(field parquet.Field, values []parquet.Value) any {
	if field.Leaf() {
		return parquetText(field.Type().String(), values[0])
	}
	var list []any
	for _, v := range values {
		if v.DefinitionLevel() > 1 {
			list = append(list, parquetText("", v))
		}
	}
	return list
}

func parquetText(typ string, v parquet.Value) any {
	switch {
	case v.IsNull():
		return nil
	case v.Kind() == parquet.Double:
		return csvrowtest.Text(v.Double())
	case v.Kind() == parquet.Int64:
		return time.UnixMicro(v.Int64()).UTC().Format("2006-01-02T15:04:05.000000Z")
	case v.Kind() == parquet.Int32:
		return time.Unix(int64(v.Int32())*86400, 0).UTC().Format(time.DateOnly)
	case v.Kind() != parquet.ByteArray:
		return typ + " " + strconv.Itoa(int(v.Kind()))
	}
	return string(v.ByteArray())
}
