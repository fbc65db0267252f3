package jobs

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Kind names the dataset that an export reads. The values are the route names callers see.
type Kind string

// Bounds of names: of a dataset's, which is in paths and file names, and of a parameter's.
const (
	maxKind  = 40
	maxParam = 40
)

// Valid reports whether k can be the name of a dataset: lower-case letters and digits in words that hyphens
// join, the first of which begins with a letter. Whether there is one of that name, package dataset knows.
func (k Kind) Valid() bool {
	if len(k) > maxKind || k == "" || k[0] < 'a' || k[0] > 'z' {
		return false
	}
	for word := range strings.SplitSeq(string(k), "-") {
		if word == "" || strings.ContainsFunc(word, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }) {
			return false
		}
	}
	return true
}

// Params is an export request after validation and normalisation, by name: the parameters of its dataset that
// were given, and those that every file has. Values are strings, bools, int64 and times, UTC to the
// microsecond. Two requests that mean the same rows and the same bytes have equal Params. Lists have Params
// without those of a file. Params of a stored job are not changed.
type Params map[string]any

// The parameters that every file has; package dataset says what they mean. Profile and FormulaGuard are
// always there, the others only where they are not what they are by default: so requests without them have
// the fingerprints that they had before there were such.
const (
	ParamProfile      = "profile"
	ParamFormulaGuard = "formulaGuard"
	ParamFormat       = "format"
	ParamCompression  = "compression"
	ParamColumns      = "columns"
	ParamTimezone     = "timezone"
	ParamDelimiter    = "delimiter"
	ParamHeader       = "header"
	ParamSince        = "since"
	// ParamExcelForm is there with ProfileExcel, and no caller sees or gives it: the form of its bytes. The
	// first one, a byte order mark before the plain file, has none; its jobs end as they began.
	ParamExcelForm = "excelForm"

	ProfileRFC4180 = "rfc4180"
	ProfileExcel   = "excel"

	// ExcelUTF16 has cells of UTF-16 with TAB between them, that Excel takes for what they are.
	ExcelUTF16 = "utf-16"

	FormatCSV     = "csv"
	FormatJSONL   = "jsonl"
	FormatParquet = "parquet"

	CompressionGzip = "gzip"

	HeaderOff = "off"
)

// delimiters are what stands between the cells of a row, by the name that requests have for it.
var delimiters = map[string]byte{"comma": ',', "semicolon": ';', "tab": '\t', "pipe": '|'}

// laterFileParams are those of files that builds of version 1 of documents would leave aside, making another
// file than was asked for.
var laterFileParams = []string{ParamFormat, ParamCompression, ParamColumns, ParamTimezone, ParamDelimiter, ParamHeader, ParamScenario, ParamSince, ParamExcelForm}

// The window of a dataset that has one: half-open.
const (
	ParamFrom = "from"
	ParamTo   = "to"
)

// maxParams bounds the parameters of a job, far above those that a dataset may have.
const maxParams = 40

// Text is the value of a text, "" if it was not given.
func (p Params) Text(name string) string { s, _ := p[name].(string); return s }

// Flag is the value of a flag.
func (p Params) Flag(name string) bool { b, _ := p[name].(bool); return b }

// Time is the value of a time, zero if it was not given.
func (p Params) Time(name string) time.Time { t, _ := p[name].(time.Time); return t.UTC() }

// Profile is the dialect of the file.
func (p Params) Profile() string { return cmp.Or(p.Text(ParamProfile), ProfileRFC4180) }

// Excel says whether the file is one for a double-click there. Of the first form of that it says no: that was
// a plain file with a byte order mark.
func (p Params) Excel() bool { return p.Profile() == ProfileExcel && p.Text(ParamExcelForm) != "" }

// Delimiter is what stands between the cells of a row of CSV.
func (p Params) Delimiter() byte {
	if p.Excel() {
		return '\t'
	}
	return cmp.Or(delimiters[p.Text(ParamDelimiter)], ',')
}

// BOM says whether the file is plain behind a byte order mark.
func (p Params) BOM() bool { return p.Profile() == ProfileExcel && p.Text(ParamExcelForm) == "" }

// Format is the format of the file.
func (p Params) Format() string { return cmp.Or(p.Text(ParamFormat), FormatCSV) }

// Gzip says whether the file is compressed.
func (p Params) Gzip() bool { return p.Text(ParamCompression) == CompressionGzip }

// Since is the id of the job whose file this one's tells the changes to, "" for a file of all rows.
func (p Params) Since() string { return p.Text(ParamSince) }

// Extension is that of a file with the rows of these, with its dot.
func (p Params) Extension() string {
	if p.Gzip() {
		return "." + p.Format() + ".gz"
	}
	return "." + p.Format()
}

// ofVersion1 reports whether builds of version 1 of documents make the file that these ask for.
func (p Params) ofVersion1() bool {
	return !slices.ContainsFunc(laterFileParams, func(name string) bool { return p[name] != nil })
}

// FormulaGuard says whether the file has it.
func (p Params) FormulaGuard() bool { return p.Flag(ParamFormulaGuard) }

// ValidTime reports whether Firestore and JSON can have a time: they do the years 1 to 9999.
func ValidTime(t time.Time) bool { return t.Year() >= 1 && t.Year() <= 9999 }

// With is a copy of p with another value of a parameter.
func (p Params) With(name string, v any) Params {
	q := maps.Clone(p)
	if q == nil {
		q = Params{}
	}
	q[name] = v
	return q
}

// whole says what is wrong with the values by themselves, "" if nothing is.
func (p Params) whole() string {
	if len(p) > maxParams {
		return fmt.Sprintf("params are %d", len(p))
	}
	for name, v := range p {
		switch v := v.(type) {
		case string:
			if len(v) > maxText {
				return fmt.Sprintf("params.%s has %d bytes", name, len(v))
			}
		case bool, int64:
		case time.Time:
			if !ValidTime(v) {
				return fmt.Sprintf("params.%s is of the year %d", name, v.Year())
			}
		default:
			return fmt.Sprintf("params.%s is none", name)
		}
		if len(name) > maxParam {
			return "params have a name that is none"
		}
	}
	return ""
}

// oldOrder is the order that parameters have in JSON and so in fingerprints: that of before there were
// datasets, whose jobs are still there. Others follow, by name, before those of the file.
var oldOrder = []string{"workspaceId", "mediumId", "hasBirthday", "birthdayMonth", ParamFrom, ParamTo, "label", "contentType"}

func orderOf(name string) int {
	switch i := slices.Index(oldOrder, name); {
	case i >= 0:
		return i
	case name == ParamProfile:
		return len(oldOrder) + 1
	case name == ParamFormulaGuard:
		return len(oldOrder) + 2
	}
	return len(oldOrder)
}

// MarshalJSON has the members in that order.
func (p Params) MarshalJSON() ([]byte, error) {
	names := slices.SortedFunc(maps.Keys(p), func(a, b string) int { return cmp.Or(cmp.Compare(orderOf(a), orderOf(b)), strings.Compare(a, b)) })
	b := []byte{'{'}
	for i, name := range names {
		v := p[name]
		if t, ok := v.(time.Time); ok {
			v = t.UTC()
		}
		key, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, key...), ':'), value...)
	}
	return append(b, '}'), nil
}

// Fingerprint identifies what a request asks for: org, kind, parameters and the version of the file's
// columns. Requests with equal fingerprints share a job.
func Fingerprint(orgID string, kind Kind, columns int, p Params) string {
	// Texts, numbers, bools and times of the years that a job may have always marshal.
	body, _ := json.Marshal(struct {
		Schema int
		Org    string
		Kind   Kind
		Params Params
	}{columns, orgID, kind, p})
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}
