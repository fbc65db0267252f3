package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/proto"

	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/dataset"
	"exportd/internal/e2e/e2etest"
	"exportd/internal/records"
	"exportd/internal/vip"
	"exportd/jobs"
)

// compareFile says how the file behind a link differs from the job's snapshot, "" if it does not.
func (in *inspector) compareFile(ctx context.Context, c *caller, j *jobs.Job, link string) (fault string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return "", err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	file, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusOK || int64(len(file)) != j.Result.Size {
		return fmt.Sprintf("job %s: its link answers %s with %d bytes, want %d", j.ID, res.Status, len(file), j.Result.Size), nil
	}
	return in.compare(ctx, j, file)
}

// compare says how a file differs from the job's snapshot, "" if it does not: each cell of each row, in
// order, and of a file of changes in any. A file of the bytes that were right before is not read again.
func (in *inspector) compare(ctx context.Context, j *jobs.Job, file []byte) (fault string, err error) {
	sum := sha256.Sum256(file)
	if right, ok := in.right[j.ID]; ok && right == sum {
		return "", nil
	}
	got, err := table(j, file)
	if err != nil {
		return fmt.Sprintf("job %s: the file (%s) cannot be read: %v", j.ID, formName(j.Params), err), nil
	}
	want, err := in.rowsAt(ctx, j, j.SnapshotTime)
	if err != nil {
		return "", err
	}
	if int64(len(want)) != j.RowsTotal {
		return "", fmt.Errorf("job %s: the snapshot has %d rows, its count says %d", j.ID, len(want), j.RowsTotal)
	}
	if since := j.Params.Since(); since != "" {
		base, err := in.store.Get(ctx, since)
		if err != nil {
			return "", err
		}
		before, err := in.rowsAt(ctx, j, base.SnapshotTime)
		if err != nil {
			return "", err
		}
		want = changes(before, want)
	}
	if headed(j.Params) {
		want = slices.Insert(want, 0, header(j))
	}
	if j.Params.Since() != "" {
		slices.SortFunc(got, slices.Compare)
		slices.SortFunc(want, slices.Compare)
	}
	if fault := unlike(got, want); fault != "" {
		return fmt.Sprintf("job %s: the file (%s) differs from the snapshot: %s", j.ID, formName(j.Params), fault), nil
	}
	in.right[j.ID] = sum
	return "", nil
}

// headed says whether a file begins with the names of its columns.
func headed(p jobs.Params) bool {
	return p.Format() == jobs.FormatCSV && p.Text(jobs.ParamHeader) != jobs.HeaderOff
}

// unlike says where two tables differ, "" if they do not.
func unlike(got, want [][]string) string {
	for i := range min(len(got), len(want)) {
		if !slices.Equal(got[i], want[i]) {
			return fmt.Sprintf("row %d is %.300q, want %.300q", i, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		return fmt.Sprintf("it has %d rows, want %d", len(got), len(want))
	}
	return ""
}

// changes are those from some rows to others, whose first cells are their ids.
func changes(before, now [][]string) (rows [][]string) {
	was := map[string][]string{}
	for _, row := range before {
		was[row[0]] = row
	}
	tell := func(kind string, row []string) { rows = append(rows, append([]string{kind}, row...)) }
	for _, row := range now {
		old, there := was[row[0]]
		switch delete(was, row[0]); {
		case !there:
			tell("added", row)
		case !slices.Equal(old, row):
			tell("changed", row)
		}
	}
	for _, row := range was {
		tell("removed", row)
	}
	return rows
}

// rowsAt gives the rows that a job's request has at a moment, read in one go, as a file of its form should
// have them by the judge of package csvrow.
func (in *inspector) rowsAt(ctx context.Context, j *jobs.Job, at time.Time) (rows [][]string, err error) {
	p, names, all := j.Params, columns(j), strings.Split(e2etest.Header(j.Kind), ",")
	places := make([]int, len(names))
	for i, name := range names {
		if places[i] = slices.Index(all, name); places[i] < 0 {
			return nil, fmt.Errorf("job %s: there is no column %q", j.ID, name)
		}
	}
	var zone *time.Location // nil: times in UTC, with Z
	if name := p.Text(jobs.ParamTimezone); name != "" {
		if zone, err = time.LoadLocation(name); err != nil {
			return nil, err
		}
	}
	query := dataset.BuiltIn.Get(string(j.Kind)).Query(j.OrgID, p)
	err = in.records.Scan(ctx, query, vip.Range{}, at, records.Options{}, func(b []byte) error {
		var doc firestorepb.Document
		if err := proto.Unmarshal(b, &doc); err != nil {
			return err
		}
		id, fields := path.Base(doc.GetName()), e2etest.Decode(doc.GetFields())
		cells, _ := csvrowtest.Chosen(j.Kind, id, fields, p.FormulaGuard(), places, zone)
		if p.Excel() {
			cells = csvrowtest.SheetTexts(j.Kind, id, fields, p.FormulaGuard(), places, zone)
			for i, cell := range cells {
				cells[i] = strings.ReplaceAll(cell, "\r\n", "\n") // as csvrowtest.Sheet gives it
			}
		}
		rows = append(rows, cells)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the rows of job %s: %w", j.ID, err)
	}
	return rows, nil
}
