package dataset

import (
	"fmt"
	"slices"
	"strings"

	"exportd/jobs"
)

// FileParam is a parameter that each export has, whatever its dataset: it says how the rows are written, not
// which. The API's document, what it takes, flags of exportctl and members of the Go client follow from it.
type FileParam struct {
	Name string
	// Schema is the name of the schema of its values.
	Schema string
	// Values are what it may be, the first of them where it is not given. Without any it is a text, of so
	// many characters at most.
	Values []string
	Most   int
	// Pattern is what such a text looks like, for the API's document; empty says nothing.
	Pattern string
	// Formats are those that have it; all if there are none.
	Formats []string
	// Doc says to callers what it does.
	Doc string
	// Short is Doc in a line, for a flag.
	Short string
}

// FileParams are the parameters of files.
var FileParams = []FileParam{
	{
		Name: jobs.ParamFormat, Schema: "FileFormat", Values: []string{jobs.FormatCSV, jobs.FormatJSONL, jobs.FormatParquet},
		Doc: "What the file is.\n\n" +
			"- `csv`: RFC 4180 in UTF-8, with a header row.\n" +
			"- `jsonl`: a row as the list route has it in each line, `application/x-ndjson`. A number that JSON does not have (`NaN`, the infinities), or what is stored in its\n" +
			"  place and is none, is a text.\n" +
			"- `parquet`: the columns of `csv`, all nullable: text as STRING, numbers as DOUBLE, times as TIMESTAMP (microseconds, UTC), dates as DATE, lists as LIST of\n" +
			"  STRING. Missing is null. What its column cannot hold, or not exactly (an integer beyond 2^53), is in the last column, `_rescued_data`: an object of JSON with\n" +
			"  the names of columns and the texts of their cells in `csv`; it is null where a row has nothing such. A value in the place of a list is a list of one.\n" +
			"\n`rescuedValues` of the job says how many values there were of which that is said.\n",
		Short: "what the file is",
	},
	{
		Name: jobs.ParamProfile, Schema: "Profile", Values: []string{jobs.ProfileRFC4180, jobs.ProfileExcel}, Formats: []string{jobs.FormatCSV},
		Doc: "`rfc4180`: plain. `excel`: for a double-click in Excel, whatever its language: UTF-16 with a byte order mark and TAB between cells. Text that Excel might take for a number,\n" +
			"date or truth value is `=\"00123\"`, a number without a decimal sign (`=125/10`), a time `2026-06-02 03:04:05`, without offset and fractions of a second. Not with `delimiter`. An\n" +
			"export of more rows than a sheet has room for (1,048,575) is a zip of sheets, `application/zip`; with `compression=gzip` it fails with `TOO_MANY_ROWS`.\n",
		Short: "form of the CSV file: plain, or for a double-click in Excel",
	},
	{
		Name: jobs.ParamFormulaGuard, Schema: "FormulaGuard", Values: []string{"on", "off"}, Formats: []string{jobs.FormatCSV},
		Doc: "Whether text that a spreadsheet may take for a formula gets a `'` before it: before `=` `+` `-` `@` (and their wide forms U+FF1D, U+FF0B, U+FF0D, U+FF20)\n" +
			"at the beginning of a cell or behind one of `,` `;` `|` TAB LF VT FF CR, also with spaces and double quotes in between, and before `=` behind a space or\n" +
			"colon too; text that has a `'` there gets one more. A cell that is nothing but a number with a sign (a phone number) stays as it is, but the first\n" +
			"of a row: there also a stored number below 0 gets a `'` if others follow.\n" +
			"What was stored comes back, cell by cell, with\n" +
			"`re.sub(r\"((?:^|[,;|\\t\\n\\v\\f\\r])[ \\\"]*)'(?='*[=+\\-@\\uff1d\\uff0b\\uff0d\\uff20])|([ :][ \\\"]*)'(?='*[=\\uff1d])\", r\"\\1\\2\", cell)` in Python.\n",
		Short: "put a ' before text that spreadsheets take for formulas",
	},
	{
		Name: jobs.ParamColumns, Schema: "Columns", Most: 6000,
		Doc: "Names of the columns that the file has, in its order, separated by commas: `id,displayName,ltv`. All where it is not given. In rows of JSON, columns of a common object\n" +
			"(`personalInfo`) stand together, where the first of them stands; in Parquet `_rescued_data` is the last column all the same.\n",
		Short: "names of the columns, separated by commas (default all)",
	},
	{
		Name: jobs.ParamDelimiter, Schema: "Delimiter", Values: []string{"comma", "semicolon", "tab", "pipe"}, Formats: []string{jobs.FormatCSV},
		Doc: "What stands between the cells of a row. A cell with it in it is quoted.", Short: "what stands between cells",
	},
	{
		Name: jobs.ParamHeader, Schema: "HeaderRow", Values: []string{"on", jobs.HeaderOff}, Formats: []string{jobs.FormatCSV},
		Doc: "Whether the file begins with a row of the names of its columns.", Short: "begin with the names of the columns",
	},
	{
		Name: jobs.ParamTimezone, Schema: "Timezone", Most: 64, Formats: []string{jobs.FormatCSV, jobs.FormatJSONL},
		Doc: "A time zone of the IANA database, like `Europe/Prague`, in which times are told, with their offset: `2026-06-02T05:04:05.000000+02:00`; also those in lists.\n" +
			"In UTC, with `Z`, where it is not given. `from` and `to` do not go by it.",
		Short: "time zone to tell times in, like Europe/Prague (default UTC)",
	},
	{
		Name: jobs.ParamCompression, Schema: "Compression", Values: []string{"none", jobs.CompressionGzip}, Formats: []string{jobs.FormatCSV, jobs.FormatJSONL},
		Doc: "`gzip`: the file is a `.gz` of several members, as `gunzip` and libraries read them one after the other. It is downloaded as it is, `application/gzip` without\n" +
			"`Content-Encoding`, so that sizes, checksum and ranges are those of the compressed bytes.",
		Short: "compress the file",
	},
	{
		Name: jobs.ParamSince, Schema: "Since", Most: 26, Pattern: "^[a-z2-7]{26}$", Formats: []string{jobs.FormatCSV, jobs.FormatJSONL},
		Doc: "The `jobId` of an earlier export of yours. The file then has only the rows that are not as they were there, in any order, each id once; its first column (member)\n" +
			"is `change`: `added`, `changed`, or `removed` with the row as it was. The earlier export must have succeeded, with the same parameters but for `since`, and its\n" +
			"file must still be kept. It may itself be one with `since`, so that each night's names the one of the night before. Rows are compared as files have them, in\n" +
			"the columns that are chosen, `id` among them. `changes` of the job counts them. Firestore is read as for a file of all rows. Not with `profile=excel`.\n",
		Short: "jobId of an earlier export: only what has changed since",
	},
}

// FileParamOf finds one by name; nil if there is none.
func FileParamOf(name string) *FileParam {
	i := slices.IndexFunc(FileParams, func(f FileParam) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return &FileParams[i]
}

// Of reports whether a format has it.
func (f *FileParam) Of(format string) bool {
	return len(f.Formats) == 0 || slices.Contains(f.Formats, format)
}

// Default is what it is where it is not given, "" for a text.
func (f *FileParam) Default() string {
	if len(f.Values) == 0 {
		return ""
	}
	return f.Values[0]
}

// Places finds columns by their names, separated by commas. The error says what is wrong in the words of the
// API.
func (d *Dataset) Places(names string) ([]int, error) {
	var places []int
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(d.Columns, func(c Column) bool { return c.Header() == name })
		switch {
		case i < 0:
			return nil, fmt.Errorf("has %q, which is none of the columns [%s]", name, strings.Join(d.Headers(), ", "))
		case slices.Contains(places, i):
			return nil, fmt.Errorf("has %q twice", name)
		}
		places = append(places, i)
	}
	return places, nil
}

// Chosen gives the places of all columns, in their order, if none are chosen.
func (d *Dataset) Chosen(places []int) []int {
	if places != nil {
		return places
	}
	places = make([]int, len(d.Columns))
	for i := range places {
		places[i] = i
	}
	return places
}
