package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"exportd/api/client"
)

// color is an ANSI colour, as SGR takes it.
type color string

const (
	plain  color = ""
	bold   color = "1"
	dim    color = "2"
	red    color = "31"
	green  color = "32"
	yellow color = "33"
	cyan   color = "36"
)

// painter colours text, or leaves it as it is.
type painter bool

// painter paints for a terminal unless NO_COLOR is set (https://no-color.org) or the terminal is dumb.
func (a *app) painter(terminal bool) painter {
	return painter(terminal && a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb")
}

func (p painter) paint(c color, s string) string {
	if !p || c == plain || s == "" {
		return s
	}
	return "\x1b[" + string(c) + "m" + s + "\x1b[0m"
}

// clean makes text of others safe to show: control characters and whatever else is not printed, like escape
// sequences and marks that change the direction of text, become escapes. With lines, line ends stay.
func clean(s string, lines bool) string {
	ok := func(r rune) bool { return r == ' ' || lines && r == '\n' || strconv.IsPrint(r) && r != utf8.RuneError }
	if !strings.ContainsFunc(s, func(r rune) bool { return !ok(r) }) {
		return s
	}
	var b strings.Builder
	for i, width := 0, 0; i < len(s); i += width {
		var r rune
		r, width = utf8.DecodeRuneInString(s[i:])
		switch {
		case ok(r):
			b.WriteRune(r)
		case r == utf8.RuneError && width == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.Is(unicode.Zs, r):
			b.WriteByte(' ') // like the no-break space of many names
		default:
			q := strconv.QuoteRune(r) // in quotes
			b.WriteString(q[1 : len(q)-1])
		}
	}
	return b.String()
}

// cell is a field of a table. Its text is cleaned when it is shown.
type cell struct {
	text  string
	color color
}

func words(s string) cell { return cell{text: s} }
func faint(s string) cell { return cell{s, dim} }

// optional shows a text that may be missing.
func optional[T ~string](s *T) cell {
	if s == nil {
		return cell{}
	}
	return words(string(*s))
}

func number(n int64) cell { return words(thousands(n)) }

// column is a column of a table. On a terminal flexible columns are cut where the table is too wide, and
// extra ones left out, the last first, where that is not enough or nothing is in them.
type column struct {
	name                   string
	right, flexible, extra bool
	whole                  bool // is what one came for: never cut; it comes last, as the terminal wraps it
}

const (
	columnGap = "  "
	// leastWidth is how narrow a flexible column may become; narrower says nothing.
	leastWidth = 14
	// mostText bounds a cell where there is no terminal to bound it: texts have up to 98 kB.
	mostText = 200
	// mostWhole bounds one that is not to be cut: a remedy of the service has at most 6,000 bytes.
	mostWhole = 10_000
)

// table prints rows under their heads.
func (a *app) table(columns []column, rows [][]cell) {
	fmt.Fprintln(a.stdout, a.render(columns, rows, true))
}

// list prints names and values below each other; empty values are left out.
func (a *app) list(rows [][2]cell) {
	var shown [][]cell
	for _, r := range rows {
		if r[1].text != "" {
			shown = append(shown, []cell{faint(r[0].text), r[1]})
		}
	}
	fmt.Fprintln(a.stdout, a.render([]column{{}, {whole: true}}, shown, false))
}

func (a *app) heading(s string) {
	fmt.Fprintf(a.stdout, "\n%s\n", a.painter(a.stdoutTerminal).paint(bold, clean(s, false)))
}

func (a *app) render(columns []column, rows [][]cell, heads bool) string {
	p := a.painter(a.stdoutTerminal)
	texts := make([][]string, len(rows))
	for i, row := range rows {
		texts[i] = make([]string, len(row))
		for j, c := range row {
			most := mostText
			if columns[j].whole {
				most = mostWhole
			}
			texts[i][j] = shorten(clean(c.text, false), most)
		}
	}
	widths := fit(columns, texts, a.terminalWidth())
	t := table.NewWriter()
	t.SetStyle(table.Style{
		Box: table.BoxStyle{PaddingRight: columnGap}, Options: table.OptionsNoBordersAndSeparators,
		Format: table.FormatOptions{Header: text.FormatDefault},
	})
	t.SuppressTrailingSpaces()
	var configs []table.ColumnConfig
	var head table.Row
	for i, c := range columns {
		if widths[i] == 0 {
			continue
		}
		config := table.ColumnConfig{Number: len(configs) + 1, Align: text.AlignLeft, AlignHeader: text.AlignLeft}
		if c.right {
			config.Align, config.AlignHeader = text.AlignRight, text.AlignRight
		}
		configs, head = append(configs, config), append(head, p.paint(dim, c.name))
	}
	t.SetColumnConfigs(configs)
	if heads {
		t.AppendHeader(head)
	}
	for i, row := range texts {
		var line table.Row
		for j, s := range row {
			if widths[j] > 0 {
				line = append(line, p.paint(rows[i][j].color, shorten(s, widths[j])))
			}
		}
		t.AppendRow(line)
	}
	return t.Render()
}

// fit gives each column its width, 0 to those that are left out. A terminal of width 0 is none: everything is
// shown.
func fit(columns []column, texts [][]string, terminal int) []int {
	widths := make([]int, len(columns))
	filled := make([]bool, len(columns))
	for _, row := range texts {
		for j, s := range row {
			widths[j] = max(widths[j], text.StringWidth(s))
			filled[j] = filled[j] || s != ""
		}
	}
	for j, c := range columns {
		widths[j] = max(widths[j], text.StringWidth(c.name), 1)
		if terminal > 0 && c.extra && !filled[j] {
			widths[j] = 0
		}
	}
	if terminal == 0 {
		return widths
	}
	over := func() int {
		total := -len(columnGap)
		for _, w := range widths {
			if w > 0 {
				total += w + len(columnGap)
			}
		}
		return total - terminal
	}
	for over() > 0 {
		widest := -1
		for j, c := range columns {
			if c.flexible && widths[j] > leastWidth && (widest < 0 || widths[j] > widths[widest]) {
				widest = j
			}
		}
		if widest >= 0 {
			widths[widest]--
			continue
		}
		last := len(columns) - 1
		for last >= 0 && (!columns[last].extra || widths[last] == 0) {
			last--
		}
		if last < 0 {
			break // as narrow as it gets: the terminal wraps
		}
		widths[last] = 0
	}
	return widths
}

func (a *app) terminalWidth() int {
	if !a.stdoutTerminal || a.width == nil {
		return 0
	}
	return a.width()
}

// shorten cuts s to a width in columns of a terminal.
func shorten(s string, width int) string {
	if len(s) <= width || text.StringWidth(s) <= width {
		return s
	}
	return text.Trim(s, width-1) + "…"
}

// printJSON passes on what the service answered: indented on a terminal, else one line. What a terminal would
// obey and JSON lets stand as it is (C1, DEL, marks of direction) is written as JSON's escapes: the same
// value.
func (a *app) printJSON(raw []byte) error {
	var b bytes.Buffer
	var err error
	if a.stdoutTerminal {
		err = json.Indent(&b, raw, "", "  ")
	} else {
		err = json.Compact(&b, raw)
	}
	if err != nil {
		return fmt.Errorf("answer is not JSON: %w", err)
	}
	b.WriteByte('\n')
	if _, err := a.stdout.Write(escapeJSON(b.Bytes())); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

func escapeJSON(raw []byte) []byte {
	var b []byte // nil until something is to be escaped
	for i, width := 0, 0; i < len(raw); i += width {
		var r rune
		r, width = utf8.DecodeRune(raw[i:])
		// U+FFFD is also what bytes that are no text become.
		if r == '\n' || r != utf8.RuneError && (strconv.IsPrint(r) || unicode.Is(unicode.Zs, r)) {
			if b != nil {
				b = append(b, raw[i:i+width]...)
			}
			continue
		}
		if b == nil {
			b = append(make([]byte, 0, len(raw)+64), raw[:i]...)
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			b = fmt.Appendf(b, `\u%04x`, unit)
		}
	}
	if b == nil {
		return raw
	}
	return b
}

// printValue is printJSON for what the program puts together itself.
func (a *app) printValue(v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode output: %w", err)
	}
	return a.printJSON(raw)
}

// say tells the person at the terminal something that is not the result. Line ends are those of format: texts
// of others have none. Numbers are taken as they are, all else as text.
func (a *app) say(format string, args ...any) {
	if false { // has go vet judge each call
		_ = fmt.Sprintf(format, args...)
	}
	cleaned := make([]any, len(args))
	for i, arg := range args {
		switch arg.(type) {
		case int, int64:
			cleaned[i] = arg
		default:
			cleaned[i] = clean(fmt.Sprint(arg), false)
		}
	}
	line := clean(fmt.Sprintf(format, cleaned...), true)
	if a.progress != nil {
		a.progress.above(line)
		return
	}
	fmt.Fprintln(a.stderr, line)
}

// stateCell shows the state of a job, or anything with the same words.
func stateCell[S ~string](s S) cell {
	c := plain
	switch string(s) {
	case string(client.StateSucceeded), "done", "delivered", "finished", "active":
		c = green
	case string(client.StateFailed), "exhausted", "blocked", "gone", "dropped", "suspended", "damaged":
		c = red
	case string(client.StateRunning):
		c = cyan
	case string(client.StateQueued), "pending":
		c = yellow
	case string(client.StateCanceled), string(client.StateExpired), "disabled":
		c = dim
	}
	return cell{string(s), c}
}

// instant shows a time in UTC: operators compare it with logs.
func instant(t *time.Time) cell {
	if t == nil {
		return cell{}
	}
	return words(t.UTC().Format("2006-01-02 15:04:05"))
}

// day is for what is known to the day.
func day(t *time.Time) cell {
	if t == nil {
		return cell{}
	}
	return words(t.UTC().Format(time.DateOnly))
}

func duration(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < 48*time.Hour:
		s := d.Round(time.Second).String() // 1h2m3s
		if d >= time.Hour {
			s = strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
		}
		return s
	}
	return fmt.Sprintf("%dd", int(d/(24*time.Hour)))
}

// between is how long something took; "" while an end is missing.
func between(from, to *time.Time) string {
	if from == nil || to == nil {
		return ""
	}
	return duration(to.Sub(*from))
}

// thousands writes 1234567 as 1,234,567.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	start := 0
	if n < 0 {
		start = 1
	}
	for i := len(s) - 3; i > start; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// size writes bytes for people: 1.2 MB.
func size(n int64) string {
	f := float64(n)
	for _, unit := range []string{"B", "kB", "MB", "GB"} {
		if f < 1000 {
			if unit == "B" {
				return fmt.Sprintf("%d B", n)
			}
			return fmt.Sprintf("%.1f %s", f, unit)
		}
		f /= 1000
	}
	return fmt.Sprintf("%.1f TB", f)
}

// plural counts things.
func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + many
}
