package api

import (
	"cmp"
	"slices"
	"strings"

	"exportd/internal/dataset"
	"exportd/jobs"
)

// file reads the parameters that say what is in the file.
func (p *params) file(d *dataset.Dataset) jobs.Params {
	file := p.rows(d)
	given := map[string]string{}
	for _, f := range dataset.FileParams {
		v := ""
		switch {
		case f.Name == jobs.ParamColumns:
			v = p.columns(d, f)
		case f.Name == jobs.ParamTimezone:
			v = p.zone(f)
		case f.Name == jobs.ParamSince:
			v = p.since(f)
		default:
			v = enum(p, f.Name, f.Values...)
		}
		if v != "" && v != f.Default() {
			given[f.Name] = v
		}
	}
	for _, f := range dataset.FileParams {
		if v, format := given[f.Name], given[jobs.ParamFormat]; v != "" && format != "" && !f.Of(format) {
			p.fault(f.Name, typeUnknown, map[string]any{"value": v}, "is not allowed with format=%s", format)
		}
	}
	if given[jobs.ParamSince] != "" {
		p.comparable(d, given)
	}
	if v := given[jobs.ParamDelimiter]; v != "" && given[jobs.ParamProfile] == jobs.ProfileExcel {
		p.fault(jobs.ParamDelimiter, typeUnknown, map[string]any{"value": v}, "is not allowed with profile=%s, which has TAB between cells", jobs.ProfileExcel)
	}
	for name, v := range given {
		file[name] = v
	}
	file[jobs.ParamProfile] = cmp.Or(given[jobs.ParamProfile], jobs.ProfileRFC4180)
	if given[jobs.ParamProfile] == jobs.ProfileExcel {
		file[jobs.ParamExcelForm] = jobs.ExcelUTF16
	}
	file[jobs.ParamFormulaGuard] = given[jobs.ParamFormulaGuard] != "off" && cmp.Or(given[jobs.ParamFormat], jobs.FormatCSV) == jobs.FormatCSV
	return file
}

// columns reads the names of columns, "" for all of them in their order.
func (p *params) columns(d *dataset.Dataset, f dataset.FileParam) string {
	names := p.fileText(f)
	if names == "" || names == strings.Join(d.Headers(), ",") {
		return ""
	}
	if _, err := d.Places(names); err != nil {
		p.fault(f.Name, typeOnly, map[string]any{"value": shorten(names), "valids": d.Headers()}, "must be names of columns, separated by commas, and %s", err)
		return ""
	}
	return names
}

// zone reads a time zone, "" for UTC.
func (p *params) zone(f dataset.FileParam) string {
	name := p.fileText(f)
	if name == "" || name == "UTC" {
		return ""
	}
	if _, err := dataset.Zone(name); err != nil {
		p.fault(f.Name, typeOnly, map[string]any{"value": shorten(name)}, "must be a time zone of the IANA database, like Europe/Prague")
		return ""
	}
	return name
}

func (p *params) fileText(f dataset.FileParam) string {
	v, ok := p.get(f.Name, false)
	switch {
	case ok && v == "":
		p.fault(f.Name, typeEmpty, map[string]any{"value": v}, "is not allowed to be empty")
	case len(v) > f.Most:
		p.fault(f.Name, typeMax, map[string]any{"value": shorten(v), "limit": f.Most}, "length must be less than or equal to %d characters long", f.Most)
		return ""
	}
	return v
}

// shownFile are the parameters of a job's file that the contract knows, also of a damaged record.
func shownFile(p jobs.Params) jobs.Params {
	shown := jobs.Params{jobs.ParamProfile: jobs.ProfileRFC4180, jobs.ParamFormulaGuard: p.FormulaGuard()}
	for _, f := range dataset.FileParams {
		if v := p.Text(f.Name); slices.Contains(f.Values, v) || f.Most > 0 && v != "" && len(v) <= f.Most {
			shown[f.Name] = v
		}
	}
	return shown
}
