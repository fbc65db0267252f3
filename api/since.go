package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"exportd/internal/dataset"
	"exportd/internal/export"
	"exportd/jobs"
)

// since reads the id of the job whose file is to be compared with.
func (p *params) since(f dataset.FileParam) string {
	id := p.fileText(f)
	if id != "" && !jobs.ValidID(id) {
		p.fault(f.Name, typeOnly, map[string]any{"value": shorten(id)}, "must be the jobId of an export")
		return ""
	}
	return id
}

// comparable refuses files whose rows cannot be told apart when they are read back.
func (p *params) comparable(d *dataset.Dataset, given map[string]string) {
	context := map[string]any{"value": given[jobs.ParamSince]}
	if profile := given[jobs.ParamProfile]; profile != "" {
		p.fault(jobs.ParamSince, typeUnknown, context, "is not allowed with profile=%s", profile)
	}
	if i := slices.IndexFunc(d.Columns, func(c dataset.Column) bool {
		return c.Header() == export.ChangeColumn || first(c.Path) == export.ChangeColumn
	}); i >= 0 {
		p.fault(jobs.ParamSince, typeUnknown, context, "is not allowed here, as there is a column %s", d.Columns[i].Path)
	}
	if names := given[jobs.ParamColumns]; names != "" && !slices.Contains(strings.Split(names, ","), d.Columns[0].Header()) {
		p.fault(jobs.ParamSince, typeUnknown, context, "needs the column %s: put it among columns", d.Columns[0].Header())
	}
}

// first is the member of a row that a path leads into.
func first(path string) string {
	name, _, _ := strings.Cut(path, ".")
	return name
}

// based finds the file that a submission's since leads to. One that is given a job, as attaches says, needs
// none.
func (s *Server) based(ctx context.Context, sub *jobs.Submission, attaches func() (*jobs.Job, error)) error {
	since := sub.Params.Since()
	if since == "" {
		return nil
	}
	base, why, err := s.baseOf(ctx, sub, since)
	if err != nil {
		return err
	}
	if why == "" {
		sub.Base = base
		return nil
	}
	if found, err := attaches(); err != nil || found != nil {
		return err // the job has what it needs, or had
	}
	return invalid(jobs.ParamSince, typeOnly, map[string]any{"value": since}, "%s", why)
}

// baseOf gives the file with all rows of a job of the org, or says in the words of the API why it is not to
// be compared with.
func (s *Server) baseOf(ctx context.Context, sub *jobs.Submission, since string) (_ *jobs.Whole, why string, err error) {
	j, err := s.jobs.GetOf(ctx, sub.OrgID, since)
	if errors.Is(err, jobs.ErrNotFound) {
		return nil, "must be the jobId of an export of yours", nil
	}
	if err != nil {
		return nil, "", err
	}
	switch over := s.now().Add(shortestLink).After(j.FileExpiresAt); {
	case j.Foreign():
		return nil, "names an export of a newer version of the service, which cannot be compared with now", nil
	case j.State == jobs.Expired || !j.DeletedAt.IsZero() || j.State == jobs.Succeeded && over:
		return nil, "must be an export whose file is kept, and this one's is gone: export all rows, without since", nil
	case j.State != jobs.Succeeded:
		return nil, "must be an export that has succeeded: this one is " + string(j.State), nil
	case j.Kind != sub.Kind:
		return nil, fmt.Sprintf("must be an export of %s: this one is of %s", sub.Kind, j.Kind), nil
	}
	if differs := unlike(j.Params, sub.Params); differs != "" {
		return nil, "must be an export with the same parameters: there " + differs, nil
	}
	if jobs.ColumnsVersion(j.Columns) != jobs.ColumnsVersion(sub.Columns) {
		return nil, fmt.Sprintf("must be an export with the same columns, and those of %s have changed: export all rows, without since", sub.Kind), nil
	}
	base := j.Whole()
	there, err := s.objects.Holds(ctx, base.Object, base.Size, base.CRC32C)
	if err == nil && !there {
		return nil, "must be an export whose file is kept, and this one's is lost: export all rows, without since", nil
	}
	// Without an answer of storage, whoever compares finds out.
	return &base, "", nil
}

// unlike says which parameters of two exports differ, but for since; "" if none does.
func unlike(there, here jobs.Params) string {
	names := maps.Clone(there)
	maps.Copy(names, here)
	delete(names, jobs.ParamSince)
	var differs []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		was, given := there[name]
		switch is, asked := here[name]; {
		case given && asked && asRequested(name, was) == asRequested(name, is):
		case given:
			differs = append(differs, name+" is "+shorten(asRequested(name, was)))
		default:
			differs = append(differs, name+" is not given")
		}
	}
	return strings.Join(differs, ", ")
}

// changesView is what a file of changes has, counted.
type changesView struct {
	Since     string `json:"since"`
	Added     int64  `json:"added"`
	Changed   int64  `json:"changed"`
	Removed   int64  `json:"removed"`
	Unchanged int64  `json:"unchanged"`
	Before    int64  `json:"rowsBefore"`
	After     int64  `json:"rowsAfter"`
}

// changesOf are those of a job that has ended with a file, nil for a file of all rows.
func changesOf(j *jobs.Job) *changesView {
	c := j.Result.Changes
	if c == nil {
		return nil
	}
	return &changesView{j.Params.Since(), c.Added, c.Changed, c.Removed, c.Unchanged, c.Before(), c.After()}
}
