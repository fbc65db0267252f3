package dataset

import (
	"slices"

	"exportd/jobs"
)

// FileParam is a parameter that each export has, whatever its dataset: it says how the rows are written, not
// which. The API's document, what it takes, flags of exportctl and members of the Go client follow from it.
type FileParam struct {
	Name string
	// Schema is the name of the schema of its values.
	Schema string
	// Values are what it may be, the first of them where it is not given. Without any it is a text.
	Values []string
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
			"- `jsonl`: a row as the list route has it in each line, `application/x-ndjson`. A number that JSON does not have (`NaN`, the infinities), or that is stored as\n" +
			"  something else, is a text.\n" +
			"- `parquet`: the columns of `csv`, all nullable: text as STRING, numbers as DOUBLE, times as TIMESTAMP (microseconds, UTC), dates as DATE, lists as LIST of\n" +
			"  STRING. Missing is null. What its column cannot hold, or not exactly (an integer beyond 2^53), is in the last column, `_rescued_data`: an object of JSON with\n" +
			"  the names of columns and the texts of their cells in `csv`; it is null where a row has nothing such. A value in the place of a list is a list of one.\n" +
			"\n`rescuedValues` of the job says how many values there were of which that is said.\n",
		Short: "what the file is",
	},
	{
		Name: jobs.ParamProfile, Schema: "Profile", Values: []string{jobs.ProfileRFC4180, jobs.ProfileExcel}, Formats: []string{jobs.FormatCSV},
		Doc: "`rfc4180`: plain. `excel`: with a byte order mark.", Short: "form of the CSV file: plain, or with a byte order mark",
	},
	{
		Name: jobs.ParamFormulaGuard, Schema: "FormulaGuard", Values: []string{"on", "off"}, Formats: []string{jobs.FormatCSV},
		Doc: "Whether text that a spreadsheet may take for a formula gets a `'` before it: before `=` `+` `-` `@` (and their wide forms U+FF1D, U+FF0B, U+FF0D, U+FF20)\n" +
			"at the beginning of a cell or behind one of `,` `;` `|` TAB LF VT FF CR, also with spaces and double quotes in between, and before `=` behind a space or\n" +
			"colon too; text that has a `'` there gets one more. A cell that is nothing but a number with a sign (a phone number) stays as it is, but for ids.\n" +
			"What was stored comes back, cell by cell, with\n" +
			"`re.sub(r\"((?:^|[,;|\\t\\n\\v\\f\\r])[ \\\"]*)'(?='*[=+\\-@\\uff1d\\uff0b\\uff0d\\uff20])|([ :][ \\\"]*)'(?='*[=\\uff1d])\", r\"\\1\\2\", cell)` in Python.\n",
		Short: "put a ' before text that spreadsheets take for formulas",
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
