package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"golang.org/x/sync/errgroup"

	"exportd/internal/e2e/e2etest"
)

var datasetRows = flag.Int("dataset.rows", 2000, "documents of each example dataset")

// datasetsFile is the example that operators begin with.
const datasetsFile = "../../deployments/examples/datasets.yaml"

// own is what the test knows of a dataset by itself: it must not share the declaration.
type own struct {
	name, collection string
	query            url.Values // a filter
	matches          func(fields map[string]any) bool
	less             func(a, b map[string]any) int
	header           string
	cells            func(id string, fields map[string]any) []string
	make             func(r *rand.Rand, i int) map[string]any
}

var owns = []own{
	{
		name: "orders", collection: "Orders", query: url.Values{"status": {"paid"}, "tag": {"b;c"}},
		matches: func(f map[string]any) bool {
			tags, _ := f["tags"].([]string)
			return f["status"] == "paid" && slices.Contains(tags, "b;c")
		},
		less:   func(a, b map[string]any) int { return strings.Compare(a["number"].(string), b["number"].(string)) },
		header: "id,number,status,placedAt,amount,currency,customerName,tags,note",
		cells: func(id string, f map[string]any) []string {
			total, customer := f["total"].(map[string]any), f["customer"].(map[string]any)
			tags, _ := f["tags"].([]string)
			placed, _ := f["placedAt"].(time.Time)
			at := ""
			if !placed.IsZero() {
				at = placed.UTC().Format("2006-01-02T15:04:05.000000Z")
			}
			note, _ := f["note"].(string)
			return []string{id, f["number"].(string), f["status"].(string), at, fmt.Sprint(total["amount"]), total["currency"].(string), customer["name"].(string), e2etest.Join(tags), note}
		},
		make: func(r *rand.Rand, i int) map[string]any {
			f := map[string]any{
				// Most numbers share a long beginning, and a third are one number.
				"number": []string{fmt.Sprintf("ORDER/2026/%07d", i), "ORDER/2026/0000001", fmt.Sprintf("%c%d", 'A'+rune(r.IntN(26)), r.IntN(1000))}[min(i%3, i%7)%3],
				"status": []string{"open", "paid", "shipped"}[r.IntN(3)], "total": map[string]any{"amount": int64(r.IntN(100000)), "currency": "CHF"},
				"customer": map[string]any{"name": []string{"Ada", "日本", "Müller, Söhne", "x;y"}[r.IntN(4)]}, "tags": []string{"a", "b;c", `d\e`}[:r.IntN(4)],
			}
			if i%5 > 0 { // what is missing, too
				f["placedAt"], f["note"] = time.UnixMicro(1780000000000000+r.Int64N(1e15)).UTC(), []string{"", "two\nlines", `"quoted"`, "plain"}[r.IntN(4)]
			}
			return f
		},
	},
	{
		name: "invoices", collection: "Invoices", query: url.Values{"overdue": {"true"}, "year": {"2025"}},
		matches: func(f map[string]any) bool { return f["overdue"] == true && f["year"] == int64(2025) },
		less:    func(a, b map[string]any) int { return cmp.Compare(b["amount"].(int64), a["amount"].(int64)) },
		header:  "id,amount,dueOn,overdue,year",
		cells: func(id string, f map[string]any) []string {
			return []string{id, fmt.Sprint(f["amount"]), f["dueOn"].(string), fmt.Sprint(f["overdue"]), fmt.Sprint(f["year"])}
		},
		make: func(r *rand.Rand, i int) map[string]any {
			return map[string]any{"amount": int64(r.IntN(10+i%2*1_000_000)) - 5, "dueOn": "2026-01-02", "overdue": r.IntN(2) == 0, "year": int64(2024 + r.IntN(3))}
		},
	},
}

// TestOwnDatasets: an installation's own datasets have lists and exports that agree with what is stored, in
// parts that are balanced, and of one org alone; doctor names an index that is missing.
func TestOwnDatasets(t *testing.T) {
	t.Parallel()
	setting := "EXPORTD_DATASETS_FILE=" + datasetsFile
	indexes := e2etest.Start(t, []string{setting}, exportd, "indexes")
	if code := indexes.Wait(t, stopWithin); code != 0 {
		t.Fatalf("exportd indexes: exit code %d\n%s", code, indexes.Stderr())
	}
	file := filepath.Join(t.TempDir(), "indexes.json")
	if err := os.WriteFile(file, []byte(indexes.Stdout()), 0o600); err != nil {
		t.Fatal(err)
	}
	_, hosts := e2etest.Emulators(t, exportd, t.TempDir(), "--indexes", file)
	s := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: 1, Messages: 1}, setting, "EXPORTD_RATE_KEY_PER_SECOND=0")
	e2etest.Worker(t, exportd, hosts, setting, "EXPORTD_PART_ROWS=100")
	client := hosts.OpenFirestore(t)
	for _, o := range owns {
		t.Run(o.name, func(t *testing.T) {
			stored := o.store(t, client, s.OrgID, s.OtherOrgID)
			for _, query := range []url.Values{{}, o.query} {
				o.check(t, s, stored, query, len(query) > 0)
			}
		})
	}

	t.Run("another org", func(t *testing.T) {
		var page struct{ Rows []json.RawMessage }
		if s.Other().Get(t, "/orders", url.Values{"limit": {"200"}}).Want(t, http.StatusOK).JSON(t, &page); len(page.Rows) != 1 {
			t.Errorf("the other org lists %d orders, want its own", len(page.Rows))
		}
		if job, file := s.Other().Export(t, "invoices", nil); *job.TotalCount != 1 || !strings.Contains(string(file), "other") {
			t.Errorf("the other org exports %d invoices: %s", *job.TotalCount, file)
		}
	})
}

// TestOwnDatasetsDoctor: what the database lacks for them is named.
func TestOwnDatasetsDoctor(t *testing.T) {
	t.Parallel()
	_, hosts := e2etest.Emulators(t, exportd, t.TempDir()) // which has the indexes of the built-in ones alone
	e2etest.Setup(t, exportd, hosts, nil)
	doctor := e2etest.Start(t, append(hosts.Env(), "EXPORTD_DATASETS_FILE="+datasetsFile), exportd, "doctor")
	if code := doctor.Wait(t, jobWithin); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	for _, want := range []string{"Orders(orgId, status, tags, number)", "Invoices(owner.orgId, amount desc)"} {
		if !strings.Contains(doctor.Stdout(), want) {
			t.Errorf("doctor does not name %s:\n%s", want, doctor.Stdout())
		}
	}
}

// store writes the documents of an org, and one of another's.
func (o own) store(t *testing.T, client *firestore.Client, org, otherOrg string) map[string]map[string]any {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	stored := map[string]map[string]any{}
	for i := range *datasetRows {
		stored[fmt.Sprintf("%s%06d", o.name, i*7919%*datasetRows)] = o.make(r, i)
	}
	var g errgroup.Group
	g.SetLimit(4)
	for ids := range slices.Chunk(append(slices.Collect(maps.Keys(stored)), "other"), 400) {
		g.Go(func() error {
			return client.RunTransaction(t.Context(), func(_ context.Context, tx *firestore.Transaction) error {
				for _, id := range ids {
					fields, owner := stored[id], org
					if id == "other" {
						fields, owner = o.make(rand.New(rand.NewPCG(3, 4)), 1), otherOrg
					}
					doc := map[string]any{"orgId": owner, "owner": map[string]any{"orgId": owner}}
					for k, v := range fields {
						doc[k] = v
					}
					if err := tx.Set(client.Collection(o.collection).Doc(id), doc); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	return stored
}

// check compares list and export with what is stored.
func (o own) check(t *testing.T, s *e2etest.Stack, stored map[string]map[string]any, query url.Values, filtered bool) {
	t.Helper()
	var ids []string
	for id, f := range stored {
		if !filtered || o.matches(f) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b string) int { return cmp.Or(o.less(stored[a], stored[b]), strings.Compare(a, b)) })
	var listed []string
	page := url.Values{"limit": {"200"}}
	for name, v := range query {
		page[name] = v
	}
	for {
		var p struct {
			Rows       []struct{ ID string }
			NextCursor *string
		}
		s.Caller().Get(t, "/"+o.name, page).Want(t, http.StatusOK).JSON(t, &p)
		for _, row := range p.Rows {
			listed = append(listed, row.ID)
		}
		if p.NextCursor == nil {
			break
		}
		page.Set("cursor", *p.NextCursor)
	}
	if !slices.Equal(listed, ids) {
		t.Errorf("%s: %d rows listed, want the %d that are stored, in order", query.Encode(), len(listed), len(ids))
	}
	export := url.Values{"formulaGuard": {"off"}}
	for name, v := range query {
		export[name] = v
	}
	job, file := s.Caller().Export(t, o.name, export)
	rows, err := e2etest.ParseCSV(file)
	if err != nil || len(rows) != len(ids)+1 || strings.Join(rows[0], ",") != o.header {
		t.Fatalf("%s: a file of %d rows, %v, head %v; want %d", query.Encode(), len(rows)-1, err, rows[0], len(ids))
	}
	for i, id := range ids {
		if want := o.cells(id, stored[id]); !slices.Equal(rows[i+1], want) {
			t.Fatalf("%s: row %d is %q, want %q", query.Encode(), i, rows[i+1], want)
		}
	}
	var view struct{ Parts []struct{ Rows int } }
	s.Operator().Get(t, "/ops/jobs/"+job.JobID, nil).Want(t, http.StatusOK).JSON(t, &view)
	largest := 0
	for _, p := range view.Parts {
		largest = max(largest, p.Rows)
	}
	target := max(100, len(ids)/1000+1)
	t.Logf("%s %s: %d rows in %d parts, the largest of %d", o.name, query.Encode(), len(ids), len(view.Parts), largest)
	if len(ids) > target && (largest > 3*target || len(view.Parts) < len(ids)/target/3) {
		t.Errorf("%s: %d parts, the largest of %d rows, for %d rows", query.Encode(), len(view.Parts), largest, len(ids))
	}
}
