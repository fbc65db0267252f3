package vip_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/dataset"
	"exportd/internal/vip"
	"exportd/jobs"
)

var day = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)

func messages(p jobs.Params) vip.Query {
	p = p.With("workspaceId", "w").With("mediumId", "c").With("from", day).With("to", day.AddDate(0, 0, 7))
	return dataset.VIPMessages.Query("o", p)
}

func TestPosition(t *testing.T) {
	t.Parallel()
	for _, p := range []vip.Position{
		{Key: vip.TimeKey(day)}, {Key: vip.TimeKey(day.Add(time.Microsecond)), ID: "abc"}, {Key: vip.TimeKey(time.Unix(0, 0)), ID: "日本 語"},
		{Key: vip.DoubleKey(0), ID: "x"}, {Key: vip.DoubleKey(math.Inf(-1))}, {Key: vip.DoubleKey(math.NaN())},
		{Key: csvrowtest.Value("text"), ID: "x"}, {Key: csvrowtest.Value(nil)}, {Key: csvrowtest.Value(map[string]any{"a": []any{int64(1)}})},
	} {
		got, err := vip.ParsePosition(p.String())
		if err != nil || string(got.Key) != string(p.Key) || got.ID != p.ID {
			t.Errorf("ParsePosition(%s) = %v, %v, want %v", p.String(), got, err, p)
		}
	}
	for _, s := range []string{"", "A", "AQ", "AQA", "!!", "AgA", vip.Position{Key: vip.DoubleKey(1), ID: "a/b"}.String(),
		vip.Position{Key: []byte{1}, ID: "x"}.String(), vip.Position{Key: vip.DoubleKey(1), ID: "\xff"}.String()} {
		if p, err := vip.ParsePosition(s); !errors.Is(err, vip.ErrBadPosition) {
			t.Errorf("ParsePosition(%q) = %v, %v, want %v", s, p, err, vip.ErrBadPosition)
		}
	}
}

// FuzzPosition: whatever is accepted, in whichever form, comes back unchanged.
func FuzzPosition(f *testing.F) {
	q := messages(jobs.Params{})
	f.Add(vip.Position{Key: vip.TimeKey(day), ID: "abc"}.String())
	f.Add(vip.Position{Key: vip.DoubleKey(1)}.String())
	f.Add(q.PageToken(vip.Position{Key: vip.TimeKey(day), ID: "abc"}))
	f.Add("2026-06-01T00:00:00Z")
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := vip.ParsePosition(s); err == nil && p.String() != s {
			t.Errorf("ParsePosition(%q).String() = %q", s, p.String())
		}
		p, err := q.ParsePageToken(s)
		if err != nil {
			at, perr := time.Parse(time.RFC3339Nano, s)
			if perr != nil {
				return
			}
			if p, err = vip.OlderThan(at); err != nil {
				return
			}
		}
		again, err := q.ParsePageToken(q.PageToken(p))
		if err != nil || again.String() != p.String() {
			t.Errorf("token of %q reads as %v, %v, want %v", s, again, err, p)
		}
	})
}

func TestPageToken(t *testing.T) {
	t.Parallel()
	q := messages(jobs.Params{"label": "a"})
	next := day.AddDate(0, 0, 1)
	for t0, newest := range map[time.Time]time.Time{
		next:                              next.Add(-time.Microsecond),
		next.In(time.FixedZone("", 7200)): next.Add(-time.Microsecond),
		next.Add(time.Microsecond):        next,
		next.Add(1001):                    next.Add(time.Microsecond),
		next.Add(500):                     next,
	} {
		p, err := vip.OlderThan(t0)
		at, ok := vip.KeyTime(p.Key)
		if err != nil || !ok || p.ID != "" || !at.Equal(newest) {
			t.Errorf("OlderThan(%s) = before the rows of %v, %v, want %v", t0, at, err, newest)
		}
	}
	if _, err := vip.OlderThan(time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)); !errors.Is(err, vip.ErrBadPosition) {
		t.Errorf("OlderThan(the first instant) = %v", err)
	}
	token := q.PageToken(vip.Position{Key: vip.TimeKey(day), ID: "x"})
	if p, err := q.ParsePageToken(token); err != nil || p.ID != "x" {
		t.Errorf("ParsePageToken(token) = %v, %v", p, err)
	}
	other := q
	other.To = other.To.Add(time.Second)
	for name, q := range map[string]vip.Query{"label": messages(jobs.Params{"label": "b"}), "no label": messages(jobs.Params{}),
		"kind": messages(jobs.Params{"label": "a", "contentType": "text"}), "window": other} {
		if _, err := q.ParsePageToken(token); !errors.Is(err, vip.ErrBadPosition) {
			t.Errorf("ParsePageToken(token of a query with another %s) = %v, want %v", name, err, vip.ErrBadPosition)
		}
	}
	for _, s := range []string{"", "yesterday", "2026-06-31", "2026-06-01T00:00:00", "0001-01-01", "A" + token, token[:20],
		q.PageToken(vip.Position{Key: vip.DoubleKey(1), ID: "x"}), vip.Position{Key: vip.TimeKey(day), ID: "x"}.String()} {
		if p, err := q.ParsePageToken(s); !errors.Is(err, vip.ErrBadPosition) {
			t.Errorf("ParsePageToken(%q) = %v, %v, want %v", s, p, err, vip.ErrBadPosition)
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	for _, at := range []time.Time{day, day.Add(999 * time.Nanosecond), time.Unix(0, 0), time.Unix(-5, 1000), time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)} {
		if got, ok := vip.KeyTime(vip.TimeKey(at)); !ok || !got.Equal(at.Truncate(time.Microsecond)) {
			t.Errorf("KeyTime(TimeKey(%v)) = %v, %v", at, got, ok)
		}
	}
	for _, v := range []any{1.5, math.Inf(1), int64(7)} {
		if got, ok := vip.KeyDouble(csvrowtest.Value(v)); !ok || csvrowtest.Text(got) != csvrowtest.Text(v) {
			t.Errorf("KeyDouble(%v) = %v, %v", v, got, ok)
		}
	}
	if _, ok := vip.KeyDouble(csvrowtest.Value("1")); ok {
		t.Error("KeyDouble(text) is a number")
	}
	if string(vip.DoubleKey(2.5)) != string(csvrowtest.Value(2.5)) {
		t.Error("DoubleKey() differs from the value's bytes")
	}
}

// TestCompareKeys checks Firestore's order of values, each against each.
func TestCompareKeys(t *testing.T) {
	t.Parallel()
	ascending := [][]any{
		{nil}, {false}, {true}, {math.NaN()}, {math.Inf(-1)}, {-math.MaxFloat64}, {int64(math.MinInt64), -0x1p63}, {int64(math.MinInt64 + 1)},
		{int64(-1), -1.0}, {int64(0), 0.0, math.Copysign(0, -1)}, {5e-324}, {int64(1), 1.0}, {1.5}, {int64(2)},
		{int64(1 << 53), 0x1p53}, {int64(1<<53 + 1)}, {int64(1<<53 + 2), 0x1p53 + 2}, {int64(math.MaxInt64)}, {0x1p63}, {math.Inf(1)},
		{time.Unix(-1, 0)}, {time.Unix(0, 1000), time.Unix(0, 1999)}, {time.Unix(1, 0)}, {""}, {"a"}, {"aa"}, {"b"}, {"日"}, {"😀"}, {[]byte("a")}, {[]byte("b")},
		{csvrowtest.Ref("p/d/a")}, {csvrowtest.Ref("p/d/a/b")}, {csvrowtest.Ref("p/d/a!")}, {csvrowtest.Geo{}}, {[]any{}}, {map[string]any{}},
	}
	for i, as := range ascending {
		for j, bs := range ascending {
			for _, a := range as {
				for _, b := range bs {
					want := min(max(i-j, -1), 1)
					if got, ok := vip.CompareKeys(csvrowtest.Value(a), csvrowtest.Value(b)); !ok || got != want {
						t.Errorf("CompareKeys(%v, %v) = %d, %v, want %d", a, b, got, ok, want)
					}
				}
			}
		}
	}
	if _, ok := vip.CompareKeys(csvrowtest.Value([]any{"a"}), csvrowtest.Value([]any{"b"})); ok {
		t.Error("arrays are compared")
	}
}

func TestFollows(t *testing.T) {
	t.Parallel()
	one, two := csvrowtest.Value(1.0), csvrowtest.Value(2.0)
	for _, test := range []struct {
		lastKey  []byte
		lastID   string
		key      []byte
		id       string
		expected bool
	}{
		{two, "b", one, "a", true}, {one, "a", two, "b", false}, {one, "a", one, "b", true}, {one, "b", one, "a", false}, {one, "a", one, "a", false},
		{one, "__id9__", one, "__id10__", true}, {one, "__id10__", one, "__id9__", false}, {one, "__id9__", one, "!", true}, {one, "!", one, "__id9__", false},
		{one, "__id9", one, "__id9_", true}, {one, "a", one, "__id9", false}, {csvrowtest.Value(int64(1)), "b", one, "a", false},
	} {
		q := vip.Query{}
		if got := q.Follows(test.lastKey, []byte(test.lastID), test.key, []byte(test.id)); got != test.expected {
			t.Errorf("Follows(%+v) = %v", test, got)
		}
		same := string(test.lastKey) == string(test.key)
		if q.Ascending = true; !same && len(test.lastKey) == len(test.key) && q.Follows(test.lastKey, []byte(test.lastID), test.key, []byte(test.id)) == test.expected {
			t.Errorf("Follows(%+v) = %v, ascending", test, test.expected)
		}
	}
}

func TestValidID(t *testing.T) {
	t.Parallel()
	long := string(make([]byte, 1500))
	for id, want := range map[string]bool{"a": true, "日 本": true, long: true, "": false, ".": false, "..": false, "a/b": false, "__x__": false,
		"____": true, "_____": false, "__": true, "...": true, ".a": true, "\xff": false, long + "x": false,
		"__id7__": true, "__id-7__": true, "__id7_": true, "__id9223372036854775807__": true, "__id-9223372036854775808__": true, "__id0__": false, "__id07__": false,
		"__id+7__": false, "__id__": false, "__id-0__": false, "__id9223372036854775808__": false, "__id7 __": false, "__\n__": false} {
		if got := vip.ValidID(id); got != want {
			t.Errorf("ValidID(%.10q) = %v, want %v", id, got, want)
		}
	}
}

// TestCompareIDs: in Google's order, as its emulator gives them.
func TestCompareIDs(t *testing.T) {
	t.Parallel()
	ids := []string{"__id-9223372036854775808__", "__id-7__", "__id7__", "__id10__", "__id9223372036854775807__", "\x00", vip.TextFloor, "!", "%2F", "-", "...", "..ab", ".a",
		"__", "___", "____", "__id7", "__id7_", "__id7__x", "_a__", "a", "a\x00b", "a\U0010ffff", "~", "مرحبا", "日", "日本", "\ue000", "\uffff", "😀", "\U0010ffff"}
	for i, a := range ids {
		for j, b := range ids {
			if got, want := vip.CompareIDs(a, b), min(max(i-j, -1), 1); got != want {
				t.Errorf("CompareIDs(%q, %q) = %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestLegalID(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"a": "a", ".": ".-", "..": "..-", "__________": "__________-", "____": "____", "__id7__": "__id7__-"} {
		if got := vip.LegalID(in); got != want || !vip.ValidID(got) {
			t.Errorf("LegalID(%q) = %q, want %q", in, got, want)
		}
	}
}
