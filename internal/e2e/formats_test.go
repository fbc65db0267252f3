package e2e

import (
	"maps"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

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
	if rows, err := e2etest.ParseParquet(strings.Split(e2etest.Header("vip-messages"), ","), e2etest.Download(t, *job.CSVURL).Body); err != nil || len(rows) != len(stored) {
		t.Errorf("%d rows, stored are %d: %v", len(rows), len(stored), err)
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
		for format, read := range map[string]func([]string, []byte) ([][]string, error){"jsonl": e2etest.ParseJSONL, "parquet": e2etest.ParseParquet} {
			asked := maps.Clone(query)
			asked.Set("format", format)
			job, file := s.Caller().Export(t, string(kind), asked)
			t.Logf("%s as %s: %d rows in %d parts, %d bytes", kind, format, len(want), job.Progress.PartsTotal, len(file))
			rows, err := read(strings.Split(e2etest.Header(kind), ","), file)
			if diff := cmp.Diff(want, rows, cmpopts.EquateEmpty()); err != nil || diff != "" {
				t.Errorf("%s as %s: %v; stored (-) and exported (+) differ:\n%.4000s", kind, format, err, diff)
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
