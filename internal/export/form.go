package export

import (
	"context"
	"fmt"
	"io"
	"time"

	"exportd/internal/csvrow"
	"exportd/internal/dataset"
	"exportd/internal/jsonrow"
	"exportd/internal/parquetrow"
	"exportd/internal/rowdiff"
	"exportd/jobs"
)

// encoder makes the bytes of the rows of one object, from the first to the last. It is for one goroutine.
type encoder interface {
	// AppendHeader appends what the file begins with.
	AppendHeader(dst []byte) []byte
	// AppendRow appends a row, given the bytes of its document, which it does not keep. After an error dst is
	// as it came.
	AppendRow(dst, doc []byte) ([]byte, error)
	// AppendEnd appends what follows the last row: of the whole file, or of one part of it.
	AppendEnd(dst []byte, whole bool) ([]byte, error)
	// Guarded says how many cells the formula guard has changed so far, by the names of their columns.
	Guarded() map[string]int64
	// Rescued says how many values so far were none that their column's type has in this format.
	Rescued() int64
}

// form is how the file of a job is made. A new format is one more of them, and nothing else.
type form struct {
	contentType string
	encoder     func(d *dataset.Dataset) (encoder, error)
	gzip        bool // what the encoder makes is compressed
	// sheets: parts are deflated, and sheets of a zip are made of them.
	sheets bool
	// finish, where there is one, makes what stands behind the parts in a file that needs more than these
	// laid end to end. The parts are in order and done.
	finish func(ctx context.Context, objects Objects, j *jobs.Job, parts []*jobs.Part) ([]byte, error)
	// rows reads what encoder has written, and lead puts a word before one of its rows, or before the header.
	// Where there are none, there are no files of changes.
	rows func(d *dataset.Dataset, in io.Reader) (*rowdiff.File, error)
	lead func(dst []byte, word string, row []byte) []byte
	// blurs says that rows has ids that are one there and were two, of which one has NUL.
	blurs bool
}

// formOf gives the form of a job's file.
func formOf(j *jobs.Job) (form, error) {
	p := j.Params
	switch format := p.Format(); format {
	case jobs.FormatCSV:
		f := csvForm(p).compressed(p)
		if f.sheets = j.SheetRows > 0; f.sheets {
			f.contentType, f.gzip = "application/zip", false
		}
		return f, nil
	case jobs.FormatJSONL:
		return jsonForm(p).compressed(p), nil
	case jobs.FormatParquet:
		return form{
			contentType: "application/vnd.apache.parquet", finish: joinParquet,
			encoder: func(d *dataset.Dataset) (encoder, error) {
				places, _, err := choice(d, p)
				return parquetEncoder{parquetrow.NewEncoder(d, places)}, err
			},
		}, nil
	default:
		return form{}, unknownForm("format", format, nil)
	}
}

func csvForm(p jobs.Params) form {
	f := form{contentType: "text/csv; charset=utf-8", encoder: func(d *dataset.Dataset) (encoder, error) {
		o, err := csvOptions(d, p)
		return csvEncoder{csvrow.NewEncoder(d, o)}, err
	}}
	if p.Excel() {
		f.contentType = "text/csv; charset=utf-16"
	}
	if p.Profile() != jobs.ProfileRFC4180 {
		return f
	}
	f.blurs = true
	f.rows = func(d *dataset.Dataset, in io.Reader) (*rowdiff.File, error) {
		o, err := csvOptions(d, p)
		if err != nil {
			return nil, err
		}
		return csvRows(o, in)
	}
	comma := p.Delimiter()
	f.lead = func(dst []byte, word string, row []byte) []byte {
		return append(append(append(dst, word...), comma), row...)
	}
	return f
}

func jsonForm(p jobs.Params) form {
	return form{
		contentType: "application/x-ndjson",
		encoder: func(d *dataset.Dataset) (encoder, error) {
			places, zone, err := choice(d, p)
			return jsonEncoder{jsonrow.NewEncoder(d, jsonrow.Options{Columns: places, Zone: zone})}, err
		},
		rows: func(_ *dataset.Dataset, in io.Reader) (*rowdiff.File, error) { return rowdiff.JSONL(in), nil },
		lead: func(dst []byte, word string, row []byte) []byte {
			return append(append(append(append(dst, `{"`+ChangeColumn+`":"`...), word...), `",`...), row[1:]...) // a row has its id at least
		},
	}
}

// compressed has the form's bytes compressed if parameters say so.
func (f form) compressed(p jobs.Params) form {
	if p.Gzip() {
		f.contentType, f.gzip = "application/gzip", true
	}
	return f
}

// unknownForm is for parameters that no request of this build can have had.
func unknownForm(what, value string, err error) error {
	return jobs.Fail(jobs.CodeInvalidJob, jobs.Permanent, fmt.Sprintf("there is no %s %q", what, value), "ask for the export again", err)
}

// csvOptions are those of the CSV that parameters ask for.
func csvOptions(d *dataset.Dataset, p jobs.Params) (csvrow.Options, error) {
	o := csvrow.Options{
		FormulaGuard: p.FormulaGuard(), BOM: p.BOM(), Excel: p.Excel(),
		Delimiter: p.Delimiter(), NoHeader: p.Text(jobs.ParamHeader) == jobs.HeaderOff,
	}
	var err error
	o.Columns, o.Zone, err = choice(d, p)
	return o, err
}

// choice is what parameters say of the columns, by their places, and of the zone of times; nil is all of
// them, and UTC.
func choice(d *dataset.Dataset, p jobs.Params) (places []int, zone *time.Location, err error) {
	if names := p.Text(jobs.ParamColumns); names != "" {
		if places, err = d.Places(names); err != nil {
			return nil, nil, unknownForm("such choice of columns as", names, err)
		}
	}
	if name := p.Text(jobs.ParamTimezone); name != "" {
		if zone, err = dataset.Zone(name); err != nil {
			return nil, nil, unknownForm("time zone", name, err)
		}
	}
	return places, zone, nil
}

// csvEncoder is that of CSV, where nothing follows the last row.
type csvEncoder struct{ *csvrow.Encoder }

func (csvEncoder) AppendEnd(dst []byte, _ bool) ([]byte, error) { return dst, nil }
func (csvEncoder) Rescued() int64                               { return 0 }

// jsonEncoder is that of JSONL: a row as list routes have it, in a line.
type jsonEncoder struct{ *jsonrow.Encoder }

func (jsonEncoder) AppendHeader(dst []byte) []byte { return dst }

func (e jsonEncoder) AppendRow(dst, doc []byte) ([]byte, error) {
	row, err := e.Encoder.AppendRow(dst, doc)
	if err != nil {
		return dst, err
	}
	return append(row, '\n'), nil
}

func (jsonEncoder) AppendEnd(dst []byte, _ bool) ([]byte, error) { return dst, nil }
func (jsonEncoder) Guarded() map[string]int64                    { return nil }
func (e jsonEncoder) Rescued() int64                             { return e.Texts() }

// ContentType is what the file of a job is stored as; that of bytes where this build does not know its form.
func ContentType(j *jobs.Job) string {
	f, err := formOf(j)
	if err != nil {
		return "application/octet-stream"
	}
	return f.contentType
}
