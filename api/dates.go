package api

import (
	"regexp"
	"time"

	"exportd/jobs"
)

// dateTime is a date-time of ISO 8601 in its extended form, with a space for the T as JavaScript takes it.
// time.Parse alone would take a comma and an offset of 24 h.
var dateTime = regexp.MustCompile(`^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(:\d\d(?:\.\d+)?)?(Z|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?)?$`)

// parseDate reads an ISO date, which is its midnight in UTC, or date-time; one without an offset is in UTC as
// well.
func parseDate(s string) (t time.Time, dateOnly, ok bool) {
	t, err := time.Parse(time.DateOnly, s)
	dateOnly = err == nil
	if m := dateTime.FindStringSubmatch(s); m != nil {
		day, minute, second, offset := m[1], m[2], m[3], m[4]
		if second == "" {
			second = ":00"
		}
		switch len(offset) {
		case 0:
			offset = "Z"
		case len("+05"):
			offset += ":00"
		case len("+0530"):
			offset = offset[:3] + ":" + offset[3:]
		}
		t, err = time.Parse(time.RFC3339Nano, day+"T"+minute+second+offset)
	}
	if err != nil || !saneYear(t) {
		return time.Time{}, false, false
	}
	return t.UTC(), dateOnly, true
}

// saneYear keeps a year's distance from what can be stored: a day is added to some.
func saneYear(t time.Time) bool {
	return jobs.ValidTime(t.AddDate(-1, 0, 0)) && jobs.ValidTime(t.AddDate(1, 0, 0))
}

// misdated are forms of dates that are often sent and cannot be taken, and what is wrong with them.
var misdated = []struct {
	form *regexp.Regexp
	why  string
}{
	{regexp.MustCompile(`^\d{4}(-\d\d)?$`), "the day is missing, as in 2026-10-26"},
	{regexp.MustCompile(`^\d{8}(T[\d.:Z+-]*)?$`), "write it with hyphens and colons, as in 2026-10-26T09:30:00Z"},
	{regexp.MustCompile(`T\d\d(:?\d\d)*(\.\d+)? \d\d:?\d\d$`), "in a URL a + stands for a space, so write the offset's as %2B"},
	{regexp.MustCompile(`T\d\d(Z|[+-].*)?$`), "the minutes are missing, as in 2026-10-26T09:00Z"},
	{regexp.MustCompile(`^(0000|0001|9999)-`), "years go from 2 to 9998"},
	{regexp.MustCompile(`^\d{4}-\d\d-\d\d$`), "there is no such day"},
	{dateTime, "there is no such time (24:00 is the next day's 00:00)"},
}

// whyNoDate says what is wrong with a text that is no date, "" where that is not known.
func whyNoDate(s string) string {
	for _, m := range misdated {
		if m.form.MatchString(s) {
			return ": " + m.why
		}
	}
	return ""
}

// date reads a date of which fractions are cut to microseconds, which is what Firestore stores.
func (p *params) date(name string, required bool) (t time.Time, dateOnly, ok bool) {
	v, given := p.get(name, required)
	if !given {
		return t, false, false
	}
	if t, dateOnly, ok = parseDate(v); !ok {
		p.fault(name, typeDate, map[string]any{"value": v, "format": "iso"}, "must be in ISO 8601 date format%s", whyNoDate(v))
	}
	return t.Truncate(time.Microsecond), dateOnly, ok
}
