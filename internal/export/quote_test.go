package export_test

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"exportd/internal/csvrow"
	"exportd/internal/dataset"
	"exportd/internal/export"
	"exportd/internal/inmemory"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/records"
	"exportd/internal/vip"
	"exportd/jobs"
)

// TestQuote: of 100 random filters, the rows that a quote tells are those of the export of its instant, and
// its bytes are right to 10 %, whatever the order of rows has to do with their length. Reads are as counted.
func TestQuote(t *testing.T) {
	t.Parallel()
	const rows = 3000
	cloud := localcloudtest.Start(t)
	r, err := records.Open(t.Context(), records.Config{ProjectID: localcloudtest.Project, Emulator: cloud.Endpoints().Firestore})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	random := rand.New(rand.NewPCG(17, 1))
	w := cloud.Firestore.BulkWriter(t.Context())
	for i := range rows {
		known := random.IntN(3) > 0
		ltv := math.Floor(random.ExpFloat64() * 1000)
		_, err1 := w.Set(cloud.Firestore.Doc(fmt.Sprintf("VipUsers/u%05d", i)), map[string]any{
			"workspaceId": "w", "mediumId": "c", "ltv": ltv, "hasBirthday": known, "birthdayMonth": random.IntN(12) + 1,
			// The more valuable, the longer.
			"displayName": strings.Repeat("é", 1+random.IntN(20)+int(ltv)/100), "tags": []any{"a", "b"}[:random.IntN(3)],
		})
		_, err2 := w.Set(cloud.Firestore.Doc(fmt.Sprintf("VipMessages/m%05d", i)), map[string]any{
			"workspaceId": "w", "mediumId": "c", "timestamp": skewDay.Add(time.Duration(random.IntN(30*24*3600)) * time.Second), "kind": []any{"text", "postback"}[random.IntN(2)],
			"labels": []any{fmt.Sprint("l", random.IntN(4))}, "text": strings.Repeat("word ", random.IntN(60)),
		})
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
	}
	for i := range 30 { // no rows
		if _, err := w.Set(cloud.Firestore.Doc(fmt.Sprintf("VipUsers/none%d", i)), map[string]any{
			"workspaceId": "w", "mediumId": "c", "hasBirthday": true, "birthdayMonth": 4,
		}); err != nil {
			t.Fatal(err)
		}
	}
	w.End()
	quoter := export.NewQuoter(r, export.Config{PartRows: 1000, MaxParts: 1000})
	worst, exact := 0.0, 0
	for range 100 {
		j := &jobs.Job{OrgID: "o", Kind: "vip-users", Columns: 1, Params: jobs.Params{"workspaceId": "w", "mediumId": "c", "formulaGuard": true}}
		d := dataset.VIPUsers
		if random.IntN(2) == 0 {
			j.Kind, d = "vip-messages", dataset.VIPMessages
			from := skewDay.Add(time.Duration(random.IntN(20)) * 24 * time.Hour)
			j.Params["from"], j.Params["to"] = from, from.Add(time.Duration(1+random.IntN(30))*24*time.Hour)
			j.Params = j.Params.With([]string{"label", "contentType", "other"}[random.IntN(3)], []string{"l1", "text"}[random.IntN(2)])
		} else if random.IntN(2) == 0 {
			j.Params["hasBirthday"] = true
		} else if random.IntN(2) == 0 {
			j.Params["birthdayMonth"] = int64(1 + random.IntN(12))
		}
		d.Normalise(j.Params)
		got, err := quoter.Quote(t.Context(), j)
		if err != nil {
			t.Fatal(err)
		}
		enc := csvrow.NewEncoder(d, csvrow.Options{FormulaGuard: true})
		var file bytes.Buffer
		file.Write(enc.AppendHeader(nil))
		var n int64
		if err := r.Scan(t.Context(), d.Query("o", j.Params), vip.Range{}, got.At, records.Options{}, func(doc []byte) error {
			row, err := enc.AppendRow(nil, doc)
			file.Write(row)
			n++
			return err
		}); err != nil {
			t.Fatal(err)
		}
		without := int64(30)
		if month := j.Params["birthdayMonth"]; d.Window != nil {
			without = -1
		} else if month != nil && month != int64(4) {
			without = 0
		}
		if got.WithoutSortField != without {
			t.Errorf("%v: %d documents without their sort field, want %d", j.Params, got.WithoutSortField, without)
		}
		off := math.Abs(float64(got.Bytes)/float64(file.Len()) - 1)
		worst = max(worst, off)
		if got.Exact {
			exact++
		}
		if got.Rows != n || off > 0.1 || got.Exact && off != 0 || got.Exact != (n <= 400) || got.Reads < n || got.Parts != max(1, int((n+999)/1000)) {
			t.Errorf("%v: quoted %+v, has %d rows of %d bytes", j.Params, got, n, file.Len())
		}
	}
	t.Logf("100 quotes, %d of them by all rows: bytes are right to %.1f %%", exact, 100*worst)
	if exact == 0 || exact == 100 {
		t.Errorf("%d quotes of 100 are by all rows", exact)
	}
	quoteSheets(t, r, rows)
}

// quoteSheets wants the quote of a zip of sheets to be what it comes to, to 10 %.
func quoteSheets(t *testing.T, r *records.Reader, rows int64) {
	t.Helper()
	j := forExcel(0)
	j.Params["workspaceId"], j.Params["mediumId"] = "w", "c"
	cfg := export.Config{PartRows: 1000, MaxParts: 1000, SheetRows: 700}
	quoted, err := export.NewQuoter(r, cfg).Quote(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	e := export.New(r, inmemory.NewObjects(), cfg)
	j.SnapshotTime = quoted.At
	plan, err := e.Plan(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	var parts []*jobs.Part
	j.SheetRows, j.RowsTotal, j.PartsTotal = plan.SheetRows, plan.Rows, len(plan.Parts)
	for i, p := range plan.Parts {
		part := &jobs.Part{Index: i, PlanEpoch: 1, From: p.From, To: p.To, Rows: p.Rows, State: jobs.PartDone}
		got, err := e.Write(t.Context(), export.Spec{Job: j, Object: part.ObjectName(j, "t"), From: p.From, To: p.To, Rows: p.Rows}, new(export.Progress))
		if err != nil {
			t.Fatal(err)
		}
		part.Object, part.Size, part.CRC32C, part.Plain = got.Object, got.Size, got.CRC32C, got.Plain
		parts = append(parts, part)
	}
	res, _, err := e.Compose(t.Context(), j, parts, j.ResultName())
	if err != nil {
		t.Fatal(err)
	}
	sheets, err := export.Sheets(dataset.VIPUsers, j, parts)
	off := math.Abs(float64(quoted.Bytes)/float64(res.Size) - 1)
	if err != nil || quoted.Rows != rows || res.Rows != rows || quoted.Files < 2 || max(quoted.Files-len(sheets), len(sheets)-quoted.Files) > 1 || quoted.Exact || off > 0.1 {
		t.Errorf("quoted %+v, has %d rows and %d bytes in %d sheets, %v", quoted, res.Rows, res.Size, len(sheets), err)
	}
}

// again reads each page twice with the same encoder, as a page is read whose first stream broke at its end.
type again struct{ *records.Reader }

func (a again) Page(ctx context.Context, q vip.Query, after *vip.Position, offset, limit, most int, row records.RowEncoder) (records.Page, error) {
	if _, err := a.Reader.Page(ctx, q, after, offset, limit, most, row); err != nil {
		return records.Page{}, err
	}
	return a.Reader.Page(ctx, q, after, offset, limit, most, row)
}

// TestQuoteOfFormats: quotes of other formats are right to 10 % too, also where pages had to be read again.
func TestQuoteOfFormats(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	r, err := records.Open(t.Context(), records.Config{ProjectID: localcloudtest.Project, Emulator: cloud.Endpoints().Firestore})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	random := rand.New(rand.NewPCG(18, 1))
	w := cloud.Firestore.BulkWriter(t.Context())
	for i := range 5000 {
		if _, err := w.Set(cloud.Firestore.Doc(fmt.Sprintf("VipUsers/%020x", random.Uint64())), map[string]any{
			"workspaceId": []any{"w", "few"}[i%50/49], "mediumId": "c", "ltv": math.Floor(random.ExpFloat64()*100000) / 100,
			"displayName": fmt.Sprintf("%s %x", []string{"Ada", "Grace", "Edsger"}[random.IntN(3)], random.Uint32()), "country": []any{"GB", "DE", "US"}[random.IntN(3)],
			"tags": []any{"a", "b"}[:random.IntN(3)], "firstSeenAt": skewDay.Add(time.Duration(random.IntN(1e9)) * time.Millisecond),
			"personalInfo": map[string]any{"email": fmt.Sprintf("%x@example.com", random.Uint64()), "birthday": "1990-02-03"},
		}); err != nil {
			t.Fatal(err)
		}
	}
	w.End()
	for _, format := range []string{jobs.FormatJSONL, jobs.FormatParquet} {
		for _, workspace := range []string{"w", "few"} {
			j := inFormat(format)
			j.Params = j.Params.With("workspaceId", workspace).With("mediumId", "c")
			got, err := export.NewQuoter(again{r}, export.Config{PartRows: 10_000, MaxParts: 1000}).Quote(t.Context(), j)
			if err != nil {
				t.Fatal(err)
			}
			rig := newRig(t, &source{}, export.Config{})
			if err := r.Scan(t.Context(), dataset.VIPUsers.Query("o", j.Params), vip.Range{}, got.At, records.Options{}, func(doc []byte) error {
				rig.source.docs = append(rig.source.docs, bytes.Clone(doc))
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			n := int64(len(rig.source.docs))
			file, err := rig.Write(t.Context(), export.Spec{Job: j, Object: "file", Rows: n, Header: true, Final: true}, new(export.Progress))
			if err != nil {
				t.Fatal(err)
			}
			off := float64(got.Bytes)/float64(file.Size) - 1
			t.Logf("%s of %d rows: %d bytes of %d, %.1f %% off", format, n, got.Bytes, file.Size, 100*off)
			if got.Rows != n || math.Abs(off) > 0.1 || got.Exact != (n <= 400) || got.Exact && off != 0 {
				t.Errorf("%s of %s: quoted %+v, has %d rows of %d bytes", format, workspace, got, n, file.Size)
			}
		}
	}
}

// TestQuoteOfNothing: no rows are a header, and columns of another version no quote.
func TestQuoteOfNothing(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	r, err := records.Open(t.Context(), records.Config{ProjectID: localcloudtest.Project, Emulator: cloud.Endpoints().Firestore})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := export.NewQuoter(r, export.Config{PartRows: 1000, MaxParts: 1000}).Quote(t.Context(), newJob())
	header := int64(len(csvrow.NewEncoder(dataset.VIPUsers, csvrow.Options{}).AppendHeader(nil)))
	if err != nil || got.Rows != 0 || got.Bytes != header || !got.Exact || got.Parts != 1 {
		t.Errorf("Quote() of no rows = %+v, %v, want a header of %d bytes", got, err, header)
	}
	old := newJob()
	old.Columns = 99
	if _, err := export.NewQuoter(r, export.Config{}).Quote(t.Context(), old); jobs.AsFailure(err).Code != jobs.CodeDatasetChanged {
		t.Errorf("Quote() of other columns = %v", err)
	}
}
