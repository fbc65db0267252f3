package api

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"exportd/internal/apikey"
	"exportd/internal/dataset"
	"exportd/internal/export"
	"exportd/internal/records"
	"exportd/jobs"
)

// manifestView says of a file what a program needs to read and to prove it. Its names are those of CSV on the
// Web (CSVW) where that has some.
type manifestView struct {
	Context       string       `json:"@context"`
	URL           string       `json:"url"` // relative, as the file is saved
	JobID         string       `json:"jobId"`
	Kind          jobs.Kind    `json:"kind"`
	Params        jobs.Params  `json:"params"`
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Dialect       *dialectView `json:"dialect"` // of CSV
	TableSchema   schemaView   `json:"tableSchema"`

	SnapshotTime     *time.Time `json:"snapshotTime"`
	FileExpiresAt    *time.Time `json:"fileExpiresAt"`
	Rows             int64      `json:"rows"`
	SizeBytes        int64      `json:"sizeBytes"`
	CRC32C           string     `json:"crc32c"`
	SHA256           *string    `json:"sha256"` // nil where the file was composed: parts have it
	GuardedCells     int64      `json:"guardedCells"`
	RescuedValues    int64      `json:"rescuedValues"`
	WithoutSortField *int64     `json:"withoutSortField"`

	Changes   *changesView   `json:"changes,omitempty"`
	Files     []manifestFile `json:"files,omitempty"` // of a zip
	Parts     []manifestPart `json:"parts"`
	StatusURL string         `json:"statusUrl"`
	FileURL   string         `json:"fileUrl"`
}

// dialectView is how a file of CSV is written.
type dialectView struct {
	Encoding        string   `json:"encoding"`
	Delimiter       string   `json:"delimiter"`
	QuoteChar       string   `json:"quoteChar"`
	DoubleQuote     bool     `json:"doubleQuote"`
	LineTerminators []string `json:"lineTerminators"`
	Header          bool     `json:"header"`
}

type schemaView struct {
	Columns []columnView `json:"columns"`
}

type columnView struct {
	Name string `json:"name"`
	// Path is where the field is in the document, and in rows of JSON.
	Path     string       `json:"path"`
	Type     dataset.Type `json:"type"`
	Datatype string       `json:"datatype"`
	// Separator stands between the elements of a list in a cell of CSV.
	Separator string `json:"separator,omitempty"`
	// GuardedCells are those in it; nil where that is not known.
	GuardedCells *int64 `json:"guardedCells"`
}

// manifestPart is a stretch of the file that was written at once. Parts leave no byte out.
type manifestPart struct {
	Offset        int64   `json:"offset"`
	SizeBytes     int64   `json:"sizeBytes"`
	CRC32C        string  `json:"crc32c"`
	SHA256        *string `json:"sha256"` // nil where a build before has written it
	Rows          int64   `json:"rows"`
	GuardedCells  int64   `json:"guardedCells"`
	RescuedValues int64   `json:"rescuedValues"`
}

// manifestFile is one of those in a zip, as it is unpacked.
type manifestFile struct {
	Name      string `json:"name"`
	Rows      int64  `json:"rows"`
	SizeBytes int64  `json:"sizeBytes"`
	CRC32     string `json:"crc32"` // in hexadecimal digits, as tools for zip show it
}

// csvw is the namespace of CSV on the Web.
const csvw = "http://www.w3.org/ns/csvw"

// manifest answers with what is in the file of a job.
func (s *Server) manifest(c *gin.Context, caller *apikey.Key) error {
	if err := noParams(c.Request); err != nil {
		return err
	}
	ctx := c.Request.Context()
	j, err := s.jobWithFile(c, caller)
	if err != nil {
		return err
	}
	columns, err := s.fileColumns(j)
	if err != nil {
		return err
	}
	parts, err := s.jobs.Parts(ctx, j)
	if err != nil {
		return err
	}
	v := manifestView{
		Context: csvw, URL: j.FileName(), JobID: j.ID, Kind: j.Kind, Params: shownParams(j.Kind, j.Params), SchemaVersion: jobs.ColumnsVersion(j.Columns),
		MediaType: export.ContentType(j), Dialect: dialectOf(j.Params), TableSchema: schemaView{columns},
		SnapshotTime: timeOrNil(j.SnapshotTime), FileExpiresAt: timeOrNil(j.FileExpiresAt),
		Rows: j.Result.FileRows(), Changes: changesOf(j), SizeBytes: j.Result.Size, CRC32C: checksum(j.Result.CRC32C), GuardedCells: j.Result.GuardedCells, RescuedValues: j.Result.RescuedValues,
		Parts: manifestParts(j, parts), SHA256: textOrNil(j.Result.Digest.Of(j.Result.Object).SHA256), StatusURL: statusURL(j.ID), FileURL: statusURL(j.ID) + "/csv",
	}
	if v.Files, err = s.manifestFiles(j, parts); err != nil {
		return err
	}
	if s.quotes != nil && j.Params.Since() == "" { // whose rows are not those that were counted
		n, err := s.quotes.WithoutSortField(ctx, j)
		switch {
		case errors.Is(err, records.ErrSnapshotTooOld): // nobody can count it any more
		case err != nil:
			return err
		case n >= 0:
			v.WithoutSortField = &n
		}
	}
	writeJSON(c, http.StatusOK, v)
	return nil
}

// fileColumns are the columns of a job's file, in its order. A dataset that is no longer as it was then says
// nothing of them.
func (s *Server) fileColumns(j *jobs.Job) ([]columnView, error) {
	d := s.datasets.Get(string(j.Kind))
	if d == nil || d.Version != jobs.ColumnsVersion(j.Columns) {
		return nil, refuse(http.StatusConflict, "the columns of "+string(j.Kind)+" are no longer those of the file: ask for the export again")
	}
	columns := d.Columns
	if names := j.Params.Text(jobs.ParamColumns); names != "" {
		places, err := d.Places(names)
		if err != nil { // of a damaged record
			return nil, refuse(http.StatusConflict, "the record of the export does not say which columns the file has: ask for the export again")
		}
		columns = make([]dataset.Column, len(places))
		for i, place := range places {
			columns[i] = d.Columns[place]
		}
	}
	format := j.Params.Format()
	// Of a file of changes, as the total is, they are those of all rows.
	guarded, known := j.Result.GuardedBy.Of(j.Whole().Object, j.Result.GuardedCells)
	views := make([]columnView, 0, len(columns)+1)
	if j.Params.Since() != "" {
		views = append(views, columnView{Name: export.ChangeColumn, Path: export.ChangeColumn, Type: dataset.Text, Datatype: datatypes[dataset.Text]})
	}
	for _, col := range columns {
		v := columnView{Name: col.Header(), Path: col.Path, Type: col.Type, Datatype: datatypes[col.Type]}
		if col.Type == dataset.Array && format == jobs.FormatCSV {
			v.Separator = ";"
		}
		views = append(views, v)
	}
	if format == jobs.FormatParquet {
		views = append(views, columnView{Name: dataset.RescuedColumn, Path: dataset.RescuedColumn, Type: dataset.Text, Datatype: "json"})
	}
	for i := range views {
		if n := guarded[views[i].Name]; known {
			views[i].GuardedCells = &n
		}
	}
	return views, nil
}

// manifestFiles are the files in a job's zip; nil of another file, and of a damaged record.
func (s *Server) manifestFiles(j *jobs.Job, parts []*jobs.Part) ([]manifestFile, error) {
	if j.SheetRows == 0 {
		return nil, nil
	}
	rows := int64(0)
	for _, p := range parts {
		if p.Damage == "" && p.State == jobs.PartDone && p.Plain != nil {
			rows += p.Rows
		}
	}
	if rows != j.Result.Rows {
		return nil, nil
	}
	sheets, err := export.Sheets(s.datasets.Get(string(j.Kind)), j, parts)
	files := make([]manifestFile, len(sheets))
	for i, f := range sheets {
		files[i] = manifestFile{f.Name, f.Rows, f.Plain.Size, fmt.Sprintf("%08x", f.Plain.CRC32)}
	}
	return files, err
}

// datatypes are those that CSVW has for columns, and for elements of lists.
var datatypes = map[dataset.Type]string{
	dataset.Text: "string", dataset.Number: "number", dataset.Time: "dateTimeStamp", dataset.Date: "date", dataset.Array: "string", dataset.Flag: "boolean",
}

// dialectOf is that of a file of CSV; nil of others.
func dialectOf(p jobs.Params) *dialectView {
	if p.Format() != jobs.FormatCSV {
		return nil
	}
	encoding := "utf-8"
	if p.Excel() {
		encoding = "utf-16"
	}
	return &dialectView{
		Encoding: encoding, Delimiter: string(rune(p.Delimiter())), QuoteChar: `"`, DoubleQuote: true,
		LineTerminators: []string{"\r\n"}, Header: p.Text(jobs.ParamHeader) != jobs.HeaderOff,
	}
}

// manifestParts are the pieces of a file.
func manifestParts(j *jobs.Job, parts []*jobs.Part) []manifestPart {
	pieces := export.Pieces(j, parts)
	out := make([]manifestPart, len(pieces))
	for i, p := range pieces {
		out[i] = manifestPart{p.Offset, p.Size, checksum(p.CRC32C), textOrNil(p.SHA256), p.Rows, p.Guarded, p.Rescued}
	}
	return out
}
