package api

import (
	"cmp"
	"slices"

	"exportd/internal/dataset"
	"exportd/jobs"
)

// file reads the parameters that say what is in the file.
func (p *params) file(d *dataset.Dataset) jobs.Params {
	file := p.rows(d)
	given := map[string]string{}
	for _, f := range dataset.FileParams {
		if v := enum(p, f.Name, f.Values...); v != "" && v != f.Default() {
			given[f.Name] = v
		}
	}
	for _, f := range dataset.FileParams {
		if v, format := given[f.Name], given[jobs.ParamFormat]; v != "" && format != "" && !f.Of(format) {
			p.fault(f.Name, typeUnknown, map[string]any{"value": v}, "is not allowed with format=%s", format)
		}
	}
	for name, v := range given {
		file[name] = v
	}
	file[jobs.ParamProfile] = cmp.Or(given[jobs.ParamProfile], jobs.ProfileRFC4180)
	file[jobs.ParamFormulaGuard] = given[jobs.ParamFormulaGuard] != "off" && cmp.Or(given[jobs.ParamFormat], jobs.FormatCSV) == jobs.FormatCSV
	return file
}

// shownFile are the parameters of a job's file that the contract knows, also of a damaged record.
func shownFile(p jobs.Params) jobs.Params {
	shown := jobs.Params{jobs.ParamProfile: jobs.ProfileRFC4180, jobs.ParamFormulaGuard: p.FormulaGuard()}
	for _, f := range dataset.FileParams {
		if v := p.Text(f.Name); slices.Contains(f.Values, v) {
			shown[f.Name] = v
		}
	}
	return shown
}
