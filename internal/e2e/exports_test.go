package e2e

import (
	"bytes"
	"encoding/csv"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/demo"
	"exportd/internal/e2e/e2etest"
	"exportd/jobs"
)

// sameAsList exports with the guard off and compares with what the list pages through.
func sameAsList(t *testing.T, s *e2etest.Stack, kind jobs.Kind, query url.Values) [][]string {
	t.Helper()
	c := s.Caller()
	listed, total := c.ListAll(t, string(kind), query)
	exporting := url.Values{"formulaGuard": {"off"}}
	for name, values := range query {
		exporting[name] = values
	}
	j, file := c.Export(t, string(kind), exporting)
	rows, err := e2etest.ParseCSV(file)
	if err != nil {
		t.Fatalf("%s %v: %v", kind, query, err)
	}
	if header := strings.Join(rows[0], ","); header != e2etest.Header(kind) {
		t.Errorf("header = %q", header)
	}
	if *j.TotalCount != int64(len(rows)-1) || total >= 0 && total != len(listed) {
		t.Errorf("%s %v: totalCount %d and list total %d for %d rows, %d listed", kind, query, *j.TotalCount, total, len(rows)-1, len(listed))
	}
	if *j.GuardedCells != 0 {
		t.Errorf("guardedCells = %d with the guard off", *j.GuardedCells)
	}
	if *j.SizeBytes != int64(len(file)) {
		t.Errorf("sizeBytes = %d of a file of %d", *j.SizeBytes, len(file))
	}
	if diff := cmp.Diff(listed, rows[1:], cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("%s %v: list (-) and export (+) differ:\n%.4000s", kind, query, diff)
	}
	return listed
}

// exportEqualsList: row for row and in order, and as many as demo.json says.
func exportEqualsList(t *testing.T, s *e2etest.Stack) {
	if rows := sameAsList(t, s, "vip-users", s.Users()); len(rows) != s.Facts.Users {
		t.Errorf("%d users, demo.json says %d", len(rows), s.Facts.Users)
	}
	if rows := sameAsList(t, s, "vip-messages", s.Messages()); len(rows) != s.Facts.Messages {
		t.Errorf("%d messages, demo.json says %d", len(rows), s.Facts.Messages)
	}
}

// exportEqualsStored: the file is what the generator gave to the database, hazards and all, by an encoder
// that shares nothing with the one of the service.
func exportEqualsStored(t *testing.T, s *e2etest.Stack) {
	for _, kind := range []jobs.Kind{"vip-users", "vip-messages"} {
		query := s.Users()
		if kind == "vip-messages" {
			query = s.Messages()
		}
		rows := s.Stored(t, kind)
		for _, o := range []struct{ profile, guard string }{{"", "off"}, {"", ""}, {"excel", "on"}} {
			query.Del("profile")
			query.Del("formulaGuard")
			if o.profile != "" {
				query.Set("profile", o.profile)
			}
			if o.guard != "" {
				query.Set("formulaGuard", o.guard)
			}
			want, guarded := e2etest.File(kind, rows, o.guard != "off")
			j, got := s.Caller().Export(t, string(kind), query)
			if o.profile == "excel" {
				sameSheet(t, got, want)
			} else if !bytes.Equal(got, want) {
				t.Errorf("%s %+v: %s", kind, o, firstDifference(got, want))
			}
			if *j.GuardedCells != guarded || *j.TotalCount != int64(len(rows)) {
				t.Errorf("%s %+v: %d rows and %d guarded cells, want %d and %d", kind, o, *j.TotalCount, *j.GuardedCells, len(rows), guarded)
			}
		}
	}
}

// sameSheet: a file for Excel has the cells of the plain one, numbers to 15 digits and times to the second.
func sameSheet(t *testing.T, file, plain []byte) {
	t.Helper()
	want, err := csv.NewReader(bytes.NewReader(plain)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	got, err := csvrowtest.Sheet(file)
	if err != nil || len(got) != len(want) {
		t.Fatalf("the file for Excel has %d rows, %v, want %d", len(got), err, len(want))
	}
	for i := range want {
		for k, cell := range want[i] {
			shown := got[i][k].Text
			if at, err := time.Parse(time.RFC3339, cell); err == nil && !got[i][k].Literal {
				cell = at.Format(time.DateTime)
			} else if number, err := strconv.ParseFloat(cell, 64); err == nil && got[i][k].Number {
				cell = csvrowtest.Digits15(number)
			}
			if shown != cell {
				t.Fatalf("row %d for Excel has the cell %q, want %q", i, shown, cell)
			}
		}
	}
}

// firstDifference shows where two files part.
func firstDifference(got, want []byte) string {
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	from := max(0, i-80)
	line := strconv.Itoa(1 + bytes.Count(want[:i], []byte("\r\n")))
	return "the files differ in line " + line + ":\n got  " + strconv.Quote(string(got[from:min(len(got), i+160)])) +
		"\n want " + strconv.Quote(string(want[from:min(len(want), i+160)]))
}

// everyFilter: each filter alone and together, and windows of each form.
func everyFilter(t *testing.T, s *e2etest.Stack) {
	users := [][]string{
		{"hasBirthday", "true"}, {"hasBirthday", "false"}, {"birthdayMonth", "1"}, {"birthdayMonth", "2"}, {"birthdayMonth", "12"},
		{"hasBirthday", "true", "birthdayMonth", "7"}, {"hasBirthday", "false", "birthdayMonth", "7"},
	}
	count := map[string]int{}
	for _, filter := range users {
		count[strings.Join(filter, "=")] = len(sameAsList(t, s, "vip-users", s.Users(filter...)))
	}
	if n := count["hasBirthday=true"]; n == 0 || n >= count["hasBirthday=false"] || count["hasBirthday=false"] != s.Facts.Users {
		t.Errorf("users by birthday = %v of %d", count, s.Facts.Users)
	}
	if count["hasBirthday=true=birthdayMonth=7"] != count["hasBirthday=false=birthdayMonth=7"] {
		t.Errorf("birthdayMonth does not imply hasBirthday: %v", count)
	}
	messages := [][]string{
		{"contentType", "text"}, {"contentType", "postback"}, {"contentType", "attachment"}, {"contentType", "other"},
		{"label", demo.HazardLabel}, {"label", demo.EdgeLabel, "contentType", "text"}, {"label", "no such label"},
		{"from", s.To}, // one day
		{"from", s.From + "T00:00:00Z", "to", s.To + "T12:00:00.000001Z"},
		{"from", s.To + "T00:00:00+02:00", "to", s.To + "T00:00:00.000001Z"},
	}
	for _, filter := range messages {
		n := len(sameAsList(t, s, "vip-messages", s.Messages(filter...)))
		if none := filter[1] == "no such label"; none != (n == 0) {
			t.Errorf("messages with %v = %d", filter, n)
		}
	}
}

// sideWorkspace has what a healthy system would not write: an ltv that is no number, texts of 98 kB.
func sideWorkspace(t *testing.T, s *e2etest.Stack) {
	at := []string{"workspaceId", s.SideWorkspaceID, "mediumId", s.SideMediumID}
	users := sameAsList(t, s, "vip-users", s.Users(at...))
	const ltv, name = 6, 2
	var odd []string
	for _, u := range users {
		if strings.HasPrefix(u[name], "ltv is ") {
			odd = append(odd, u[name]+": "+u[ltv])
		}
	}
	// Firestore's order of types, descending: maps, strings, numbers (NaN the least), null. The user without
	// an ltv is no row.
	want := []string{
		`ltv is a map: {"amount":5,"currency":"EUR"}`, "ltv is a string: 99.99", "ltv is infinite: Infinity", "ltv is NaN: NaN", "ltv is null: ",
	}
	if !slices.Equal(odd, want) {
		t.Errorf("odd ltv values = %q, want %q", odd, want)
	}
	longest := 0
	for _, m := range sameAsList(t, s, "vip-messages", s.Messages(at...)) {
		longest = max(longest, len(m[6]))
	}
	if longest < 90_000 {
		t.Errorf("the longest text has %d bytes, want those of 98 kB", longest)
	}
}

// downloads: the two ways to a file.
func downloads(t *testing.T, s *e2etest.Stack) {
	c := s.Caller()
	query := s.Messages("label", demo.EdgeLabel)
	r := c.Get(t, "/vip-messages/export", query, "Prefer", "wait=25").Want(t, http.StatusOK)
	var body map[string]any
	r.JSON(t, &body)
	if len(body) != 2 || body["totalCount"] == nil || body["csvUrl"] == nil {
		t.Errorf("body = %v, want totalCount and csvUrl alone", body)
	}
	if got := r.Header.Get("Preference-Applied"); got != "wait=25" {
		t.Errorf("Preference-Applied = %q", got)
	}
	link, _ := body["csvUrl"].(string)
	file := e2etest.Download(t, link)
	if got := file.Header.Get("Content-Disposition"); !strings.HasPrefix(got, "attachment") || !strings.Contains(got, ".csv") || !strings.Contains(got, "vip-messages") {
		t.Errorf("Content-Disposition = %q", got)
	}
	if got := file.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/csv") {
		t.Errorf("Content-Type = %q", got)
	}
	location := r.Header.Get("Content-Location")
	found := c.Get(t, location+"/csv", nil).Want(t, http.StatusFound)
	if again := e2etest.Download(t, found.Header.Get("Location")); !bytes.Equal(again.Body, file.Body) {
		t.Error("the csv route leads to another file")
	}
	tampered, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	tampered.Path += "x"
	if r, err := e2etest.Send(t.Context(), http.MethodGet, tampered.String(), nil, nil); err != nil || r.Status < 400 || bytes.Contains(r.Body, []byte("playerId")) {
		t.Errorf("a changed link gives %d, %v", r.Status, err)
	}
}
