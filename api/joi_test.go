package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"exportd/internal/machinetest"
)

// joiReason are values that are judged otherwise than by Joi, as today's service does, and why.
type joiReason struct {
	kind   string
	values *regexp.Regexp
	ours   string // what this API says instead
	why    string
}

var joiReasons = []joiReason{
	{"date", regexp.MustCompile(`^2026-(02-(29|30)|04-31)`), typeDate, "no such day, which JavaScript makes another one of"},
	{"date", regexp.MustCompile(`^\d{4}(-\d\d)?$|^\d-?$`), typeDate, "a year or a month without its day"},
	{"date", regexp.MustCompile(`^([+-]00|0000|0001|9999)`), typeDate, "years that Firestore or JSON cannot keep, or with a sign"},
	{"date", regexp.MustCompile(`[T ]24:00`), typeDate, "the next day's 00:00, which JavaScript takes in one of its two forms"},
	{"date", regexp.MustCompile(`T09:30.*\+05$`), "", "JavaScript takes an offset of hours behind a space only"},
	{"integer", regexp.MustCompile(`^[1-9].*(e999|\d{15})$`), typeNumMax, "the contract has no type of its own for what is far too large"},
	{"integer", regexp.MustCompile(`^-1e999$`), typeNumMin, "likewise"},
	{"integer", regexp.MustCompile(`^1e-\d{3,}$`), "", "it is 0 to any precision that there is"},
}

type judged struct {
	Value   any    `json:"value"`
	Message string `json:"message"`
	Type    string `json:"type"`
}

// TestJoi puts the same values to Joi, as the service does that callers come from, and to this API: what Joi
// takes is taken with the same meaning, and what it refuses is refused in its words, of which an explanation
// may follow, but for what is on the list.
func TestJoi(t *testing.T) {
	t.Parallel()
	folder := filepath.Join("testdata", "joi")
	if _, err := os.Stat(filepath.Join(folder, "node_modules")); err != nil {
		machinetest.Lacks(t, "Joi (npm ci --prefix api/testdata/joi)")
	}
	type question struct {
		Kind  string `json:"kind"`
		Value string `json:"value"`
	}
	var questions []question
	var lines bytes.Buffer
	for kind, values := range joiValues() {
		for _, v := range values {
			questions = append(questions, question{kind, v})
			_ = json.NewEncoder(&lines).Encode(question{kind, v})
		}
	}
	node := exec.CommandContext(t.Context(), "node", filepath.Join(folder, "validate.js"))
	node.Env = append(os.Environ(), "TZ=UTC") // what has no zone is in the server's
	node.Stdin, node.Stderr = &lines, os.Stderr
	out, err := node.Output()
	if err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewScanner(bytes.NewReader(out))
	equal, differ := 0, map[int]int{}
	for _, q := range questions {
		var theirs judged
		if !answers.Scan() || json.Unmarshal(answers.Bytes(), &theirs) != nil {
			t.Fatalf("Joi says nothing of %v", q)
		}
		ours := judge(q.Kind, q.Value)
		reason := slices.IndexFunc(joiReasons, func(r joiReason) bool {
			return r.kind == q.Kind && r.ours == ours.Type && r.values.MatchString(q.Value)
		})
		switch {
		case ours.Type == theirs.Type && ours.Value == theirs.Value && strings.HasPrefix(ours.Message, theirs.Message):
			equal++
		case ours.Type != theirs.Type && reason >= 0:
			differ[reason]++
		default:
			t.Errorf("%s %q: %v %q, Joi says %v %q", q.Kind, q.Value, ours.Value, ours.Message, theirs.Value, theirs.Message)
		}
	}
	t.Logf("%d values judged alike", equal)
	for i, r := range joiReasons {
		if t.Logf("%d of %s otherwise: %s", differ[i], r.kind, r.why); differ[i] == 0 {
			t.Errorf("no %s is judged otherwise because %q", r.kind, r.why)
		}
	}
}

// judge is what this API makes of a value.
func judge(kind, value string) (j judged) {
	p := &params{values: url.Values{"x": {value}}}
	switch kind {
	case "integer":
		j.Value = float64(p.integer("x", 0, 200, 0))
	case "date":
		if at, _, ok := p.date("x", true); ok {
			j.Value = at.Format("2006-01-02T15:04:05.000Z")
		}
	case "boolean":
		j.Value = p.boolean("x")
	case "text":
		j.Value = p.text("x", true)
	case "choice":
		j.Value = string(enum(p, "x", "text", "postback", "attachment", "other"))
	}
	if len(p.faults) > 0 {
		return judged{Message: p.faults[0].Message, Type: p.faults[0].Type}
	}
	return j
}

// joiValues are values to try, by kind.
func joiValues() map[string][]string {
	values := map[string][]string{
		"boolean": {"true", "false", "TRUE", "False", "tRuE", "", " true", "true ", "1", "0", "yes", "no", "on", "null", "t"},
		"choice":  {"text", "postback", "Text", "", " text", "text ", "text,other", "null", "undefined"},
		"text": {"", " ", "a", "ä", "\u0000", "a\nb", "null", strings.Repeat("x", 1500), strings.Repeat("x", 1501), strings.Repeat("é", 1500),
			strings.Repeat("é", 1501), "${x}", "{{x}}", `"`, `\`},
		"integer": {"", " ", "abc", "1_0", "0x10", "0b1", "1,5", "1e", "e1", ".", "-", "+", "--1", "1 2", "٥", "Infinity", "-Infinity", "NaN", "null", "1n",
			"1e999", "-1e999", "9007199254740991", "9007199254740992", "9007199254740993", "18446744073709551617", "1e-999", "0e999", "1e-1000", "200.5", "200.0000000001"},
	}
	for _, sign := range []string{"", "+", "-"} {
		for _, digits := range []string{"0", "5", "05", "200", "201", "5.0", "5.", ".5", "5.5", "0.0", "2e2", "2E2", "20e-1", "5e-1", ".5e1", "2.01e2", "1e0", "1e+1", "1e3"} {
			values["integer"] = append(values["integer"], sign+digits, " "+sign+digits+" ")
		}
	}
	values["date"] = []string{"", " ", "now", "null", "0", "1780000000", "1780000000000", "2026", "2026-10", "2026-1-1", "26-10-26", "2026-10-26 ", " 2026-10-26",
		"2026/10/26", "26.10.2026", "Oct 26, 2026", "2026-W44", "2026-W44-1", "2026-299", "20261026", "20261026T093000Z", "+002026-10-26", "-002026-10-26",
		"0000-01-01", "0001-01-01", "9999-12-31", "10000-01-01", "2026-02-29", "2024-02-29", "2026-02-30", "2026-04-31T00:00:00Z", "2026-13-01", "2026-00-01", "2026-10-00", "2026-10-32"}
	for _, separator := range []string{"T", "t", " "} {
		for _, clock := range []string{"09", "0930", "09:30", "09:30:15", "09:30:15.5", "09:30:15.123456789", "09:30:15.123456789123", "09:30:15,5", "24:00", "24:00:00", "25:00:00", "09:60:00", "09:30:60", "9:30:00"} {
			for _, offset := range []string{"", "Z", "z", "+05:30", "+0530", "-0530", "+05", "+24:00", "+05:60", " 05:30"} {
				values["date"] = append(values["date"], "2026-10-26"+separator+clock+offset)
			}
		}
	}
	return values
}

// TestDatesSayWhatIsWrong: who sends a date that is not taken is told which part of it.
func TestDatesSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	for in, why := range map[string]string{
		"2026": "day is missing", "2026-10": "day is missing", "20261026": "hyphens", "20261026T093000Z": "hyphens", "2026-10-26T09:30:00 05:30": "%2B",
		"2026-10-26T09Z": "minutes", "0001-01-01": "2 to 9998", "9999-12-31T00:00:00Z": "2 to 9998", "2026-02-29": "no such day",
		"2026-02-29T00:00:00Z": "no such time", "2026-10-26T25:00:00Z": "no such time",
	} {
		if got := judge("date", in); got.Type != typeDate || !strings.Contains(got.Message, why) {
			t.Errorf("%q: %+v, want something of %q", in, got, why)
		}
	}
	if got := judge("date", "yesterday"); got.Message != `"x" must be in ISO 8601 date format` {
		t.Errorf("yesterday: %q", got.Message)
	}
	if _, _, ok := parseDate(time.Now().Format(time.RFC3339Nano)); !ok {
		t.Error("now is no date")
	}
}
