package console

import (
	"fmt"
	"html/template"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"exportd/api/client"
	"exportd/internal/timeline"
)

// functions are what templates say numbers, times and texts by. Each takes a value or a pointer to one; nil
// is "–".
var functions = template.FuncMap{
	"num": num, "size": size, "ms": millis, "secs": secs, "at": at, "stamp": stamp, "text": text, "cut": cut, "pieces": pieces,
	"share": share, "query": query, "word": word, "list": func(of ...any) []any { return of }, "host": host, "known": known,
	"lastOf": lastOf, "breaks": breaks, "fieldsOf": fieldsOf, "anyFilled": anyFilled, "brief": brief, "within": within, "stretch": timeline.Stretch, "of": numOf,
}

// breaks lets a code be broken behind its underscores, where it is longer than its place.
func breaks(v any) template.HTML {
	return template.HTML(strings.ReplaceAll(template.HTMLEscapeString(text(v)), "_", "_<wbr>"))
}

// brief is pieces with the host of a link alone to be read, for lists; what it leads to is whole.
func brief(v any) []piece {
	all := pieces(v)
	for i, p := range all {
		if p.URL != "" {
			all[i].Text = host(p.URL)
		}
	}
	return all
}

// lastOf is the latest attempt at a delivery, of those that are kept; none where none was made.
func lastOf(d client.Delivery) any { return d.Tries[max(0, len(d.Tries)-1):] }

// within reports whether a text has another, or that is none.
func within(v, part any) bool { return !known(part) || strings.Contains(text(v), text(part)) }

// none stands for what is not known, or not there.
const none = "–"

// plain gives what a pointer points to.
func plain(v any) any {
	switch v := v.(type) {
	case *int64:
		if v != nil {
			return *v
		}
	case *int:
		if v != nil {
			return int64(*v)
		}
	case *float32:
		if v != nil {
			return float64(*v)
		}
	case *time.Time:
		if v != nil {
			return *v
		}
	case *string:
		if v != nil {
			return *v
		}
	case int:
		return int64(v)
	case float32:
		return float64(v)
	default:
		return v
	}
	return nil
}

// known reports whether a value is there.
func known(v any) bool {
	switch p := plain(v).(type) {
	case nil:
		return false
	case string:
		return p != ""
	case time.Time:
		return !p.IsZero()
	}
	return true
}

// num writes a whole number with its thousands apart.
func num(v any) string {
	n, ok := plain(v).(int64)
	if !ok {
		return none
	}
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// numOf writes how many there are of what a plural names, as "1 job" and "2 jobs".
func numOf(v any, plural any) string {
	words := fmt.Sprint(plural)
	if n, ok := plain(v).(int64); ok && n == 1 {
		words = strings.TrimSuffix(words, "s")
	}
	return num(v) + " " + words
}

func size(v any) string {
	n, ok := plain(v).(int64)
	if !ok {
		return none
	}
	f, units := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB"}
	for f >= 1024 && len(units) > 1 {
		f, units = f/1024, units[1:]
	}
	if units[0] == "B" || f >= 100 {
		return fmt.Sprintf("%.0f %s", f, units[0])
	}
	return fmt.Sprintf("%.1f %s", f, units[0])
}

func millis(v any) string {
	n, ok := plain(v).(int64)
	if !ok {
		return none
	}
	return span(time.Duration(n) * time.Millisecond)
}

func secs(v any) string {
	f, ok := plain(v).(float64)
	if !ok {
		return none
	}
	return span(time.Duration(f * float64(time.Second)))
}

// span writes how long something took, by its two largest units.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + span(-d)
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d d %d h", int(d.Hours())/24, int(d.Hours())%24)
}

// at writes a time to the second, in UTC as all of the console is.
func at(v any) string {
	if t, ok := plain(v).(time.Time); ok && !t.IsZero() {
		return t.UTC().Format("2006-01-02 15:04:05")
	}
	return none
}

// stamp is for programs that read the page.
func stamp(v any) string {
	if t, ok := plain(v).(time.Time); ok {
		return t.UTC().Format(time.RFC3339Nano)
	}
	return ""
}

func text(v any) string {
	switch p := plain(v).(type) {
	case nil:
		return none
	case string:
		return cut(maxShown, p)
	default:
		return fmt.Sprint(p)
	}
}

// word writes a code of the API as people do: part_failed is "part failed".
func word(v any) string { return strings.ReplaceAll(fmt.Sprint(v), "_", " ") }

// maxShown bounds one text, in characters: what the API keeps of an error is shorter.
const maxShown = 10_000

// cut shortens a text and says by how much.
func cut(most int, s string) string {
	n := utf8.RuneCountInString(s)
	if n <= most {
		return s
	}
	i := 0
	for range most {
		_, size := utf8.DecodeRuneInString(s[i:])
		i += size
	}
	return s[:i] + fmt.Sprintf("… (%s more characters)", num(n-most))
}

// piece is a stretch of a text; with a URL it is a link.
type piece struct{ Text, URL string }

// googleLink is a link that may be followed: a remedy has the one that makes a missing index. Other links in
// texts are shown as the text that they are, as anybody may have written them.
var googleLink = regexp.MustCompile(`https://console\.(?:cloud|firebase)\.google\.com/[^\s"'<>]+[^\s"'<>.,;:)]`)

func pieces(v any) (all []piece) {
	s := text(v)
	for {
		at := googleLink.FindStringIndex(s)
		if at == nil {
			return append(all, piece{Text: s})
		}
		all = append(all, piece{Text: s[:at[0]]}, piece{s[at[0]:at[1]], s[at[0]:at[1]]})
		s = s[at[1]:]
	}
}

// share is a part of a whole in percent, for a bar.
func share(part, of any) string {
	p, ok := plain(part).(int64)
	q, also := plain(of).(int64)
	if !ok || !also || q <= 0 {
		return "0"
	}
	return fmt.Sprintf("%.1f", 100*float64(p)/float64(q))
}

// query makes the query of a link of names and values; empty values are left out.
func query(pairs ...any) template.URL {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if v := fmt.Sprint(plain(pairs[i+1])); v != "" && v != "<nil>" {
			q.Add(fmt.Sprint(pairs[i]), v)
		}
	}
	return template.URL(q.Encode()) // percent-encoded as a whole
}

// host is that of a URL.
func host(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return raw
	}
	return u.Host
}

// sayings are what a page says of what was done just now, by the word in its URL.
var sayings = map[string]string{
	"rerun": "The job is queued again.", "cancel": "The job is canceled.", "redeliver": "The callback is under way again.",
	"revoke-links": "These links lead nowhere any more. Who was led to a file in the last minute may still begin to download it.",
	"probe":        "It was tried just now; what came of it is below.",
	"budget":       "The budget is changed. It holds within 10 seconds for exports that are asked for from then on.",
	"revoked":      "The key is revoked: no request of it is taken any more, and its sessions have ended.",
	"paused":       "The queue is paused: running work ends, none is begun.", "resumed": "The queue goes on.",
	"rerun-with": "This is the new job, with the other parameters.",
	"receiver":   "The receiver gets callbacks again.", "redelivered": "The callbacks are under way again.",
	"pause-batch": "The batch stands still.", "resume-batch": "The batch goes on.", "cancel-batch": "The batch has ended; what it has run again runs on.",
	"cause":           "One of these jobs runs first, then ten, then the rest; it stops where one fails again.",
	"cause-callbacks": "One of these callbacks is sent first, then ten, then the rest; it stops where one fails again.",
	"some":            "2,000 callbacks are under way again, and there are more: do it once more.", "batch": "The workers run these jobs again.",
}

func said(q url.Values) string { return sayings[q.Get("said")] }
