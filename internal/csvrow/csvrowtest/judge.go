// Package csvrowtest is the judge of package csvrow: the same rows the slow, obvious way, from decoded values
// through encoding/csv and encoding/json. It shares no code with what it judges.
package csvrowtest

import (
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"exportd/jobs"
)

// Values of a document are nil, bool, int64, float64, string, []byte, time.Time, []any and map[string]any, as
// the official client decodes them, and these two.
type (
	// Ref is a reference: the resource name.
	Ref string
	// Geo is a geo point.
	Geo struct{ Latitude, Longitude float64 }
)

var columns = map[jobs.Kind]string{
	"vip-users": "id playerId displayName avatarUrl language country ltv currency tier tags firstSeenAt lastSeenAt" +
		" personalInfo.fullName personalInfo.gender personalInfo.birthday personalInfo.email personalInfo.phone personalInfo.city",
	"vip-messages": "id timestamp playerId displayName kind source text labels",
}

// Row returns the row of a document, with CR LF, and how many of its cells were guarded.
func Row(kind jobs.Kind, id string, fields map[string]any, guard bool) (row []byte, guarded int64) {
	cells, guarded := Cells(kind, id, fields, guard)
	var b bytes.Buffer
	w := csv.NewWriter(&b) // its own UseCRLF would change line breaks inside cells
	_ = w.Write(cells)
	w.Flush()
	return append(bytes.TrimSuffix(b.Bytes(), []byte("\n")), "\r\n"...), guarded
}

// Cells returns what a reader of the file should find in the row of a document.
func Cells(kind jobs.Kind, id string, fields map[string]any, guard bool) (cells []string, guarded int64) {
	return Chosen(kind, id, fields, guard, nil, nil)
}

// Chosen is Cells of a file with columns, by their places, and a zone that a caller has chosen; nil is all of
// them, and UTC.
func Chosen(kind jobs.Kind, id string, fields map[string]any, guard bool, places []int, zone *time.Location) (cells []string, guarded int64) {
	paths := pathsAt(kind, places)
	for i, column := range paths {
		v := valueOf(column, id, fields)
		cell := TextIn(v, zone)
		if list, ok := v.([]any); ok && (column == "tags" || column == "labels") {
			cell = join(list, zone)
		}
		switch v.(type) {
		case nil, bool, time.Time:
		case int64, float64:
			if guard && i == 0 && len(paths) > 1 && strings.HasPrefix(cell, "-") {
				cell = "'" + cell
				guarded++
			}
		default:
			cell = clean(cell)
			safe := Guard(cell)
			if i == 0 && signed.MatchString(cell) {
				safe = "'" + cell
			}
			if guard && safe != cell {
				cell = safe
				guarded++
			}
		}
		cells = append(cells, cell)
	}
	return cells, guarded
}

// GuardedBy counts the cells that the guard changes in the row of a document, as Chosen has it, by the names
// of their columns.
func GuardedBy(kind jobs.Kind, id string, fields map[string]any, places []int, zone *time.Location) map[string]int64 {
	safe, _ := Chosen(kind, id, fields, true, places, zone)
	bare, _ := Chosen(kind, id, fields, false, places, zone)
	by := map[string]int64{}
	for i, path := range pathsAt(kind, places) {
		if safe[i] != bare[i] {
			by[path[strings.LastIndexByte(path, '.')+1:]]++
		}
	}
	return by
}

// pathsAt are those of a kind's columns at some places; nil is all of them.
func pathsAt(kind jobs.Kind, places []int) (paths []string) {
	all := strings.Fields(columns[kind])
	if places == nil {
		return all
	}
	for _, place := range places {
		paths = append(paths, all[place])
	}
	return paths
}

// valueOf is what a document has in a column.
func valueOf(column, id string, fields map[string]any) any {
	if column == "id" {
		return id
	}
	if name, inner, nested := strings.Cut(column, "."); nested {
		m, _ := fields[name].(map[string]any)
		return m[inner]
	}
	return fields[column]
}

var (
	signed  = regexp.MustCompile(`^[+-]([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$`)
	guarded = regexp.MustCompile(`((?:^|[,;|\t\n\v\f\r])[ "]*)'('*[=+\-@\x{ff1d}\x{ff0b}\x{ff0d}\x{ff20}])|([ :][ "]*)'('*[=\x{ff1d}])`)
)

// Guard puts a ' wherever a formula may begin: at each place of text by what stands before it and what
// follows. Ids that are numbers are not its concern.
func Guard(text string) string {
	if signed.MatchString(text) {
		return text
	}
	var b strings.Builder
	for i, r := range text {
		before := strings.TrimRight(text[:i], ` "`)
		after, _ := utf8.DecodeRuneInString(strings.TrimLeft(text[i:], "'"))
		if strings.ContainsRune("=\uff1d+-@\uff0b\uff0d\uff20", after) {
			equals := after == '=' || after == '\uff1d'
			cell := before == "" || strings.ContainsAny(before[len(before)-1:], ",;|\t\n\v\f\r")
			if cell || equals && (strings.Contains(text[len(before):i], " ") || strings.HasSuffix(before, ":")) {
				b.WriteByte('\'')
			}
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Unguard is the step that the documentation gives to whoever wants the text as it was stored.
func Unguard(cell string) string { return guarded.ReplaceAllString(cell, "$1$2$3$4") }

func join(list []any, zone *time.Location) string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = strings.NewReplacer(`\`, `\\`, `;`, `\;`).Replace(TextIn(v, zone))
	}
	return strings.Join(texts, ";")
}

// TextIn is Text with a time told in a zone, where ISO 8601 can.
func TextIn(v any, zone *time.Location) string {
	if at, is := v.(time.Time); is {
		if local, ok := inZone(at, zone); ok {
			return local.Format("2006-01-02T15:04:05.000000-07:00")
		}
	}
	return Text(v)
}

// inZone is a time in a zone, where there is one and ISO 8601 can tell it, and in UTC otherwise.
func inZone(at time.Time, zone *time.Location) (local time.Time, ok bool) {
	if zone != nil {
		_, offset := at.In(zone).Zone()
		if local = at.In(time.FixedZone("", offset/60*60)); local.Year() >= 1 && local.Year() <= 9999 {
			return local, true
		}
	}
	return at.UTC(), false
}

func clean(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == 0:
			r = '\u2400'
		case r == utf8.RuneError && n == 1:
			r = '\ufffd'
		}
		b.WriteRune(r)
		s = s[n:]
	}
	return b.String()
}

// Text is the text of one value, before CSV.
func Text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case string:
		return v
	case Ref:
		return string(v)
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(plain(v))
	text := strings.TrimSuffix(b.String(), "\n")
	switch v.(type) {
	case float64, time.Time, []byte:
		return strings.Trim(text, `"`)
	}
	return text
}

// plain makes of v what encoding/json knows how to write.
func plain(v any) any {
	switch v := v.(type) {
	case float64:
		switch {
		case math.IsNaN(v):
			return "NaN"
		case math.IsInf(v, 1):
			return "Infinity"
		case math.IsInf(v, -1):
			return "-Infinity"
		}
	case time.Time:
		return v.UTC().Format("2006-01-02T15:04:05.000000Z")
	case []byte:
		return base64.StdEncoding.EncodeToString(v)
	case Ref:
		return string(v)
	case Geo:
		return struct {
			Latitude  float64 `json:"latitude"`
			Longitude float64 `json:"longitude"`
		}{v.Latitude, v.Longitude}
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = plain(v[i])
		}
		return list
	case map[string]any:
		m := make(map[string]any, len(v))
		for k := range v {
			m[k] = plain(v[k])
		}
		return m
	}
	return v
}
