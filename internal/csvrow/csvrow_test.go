package csvrow_test

import (
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"exportd/internal/csvrow"
	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/dataset"
	"exportd/internal/vip/wire"
	"exportd/jobs"
)

var update = flag.Bool("update", false, "write the golden files")

var kinds = []jobs.Kind{"vip-users", "vip-messages"}

// check compares a row with the judge's.
func check(t *testing.T, kind jobs.Kind, opts csvrow.Options, id string, fields map[string]any, r *rand.Rand) {
	t.Helper()
	const name = "projects/p/databases/(default)/documents/C/"
	want, _ := csvrowtest.Row(kind, id, fields, opts.FormulaGuard)
	guarded := map[string]int64{}
	if opts.FormulaGuard {
		guarded = csvrowtest.GuardedBy(kind, id, fields, nil, nil)
	}
	want = append([]byte("before"), want...)
	// As encoders write it and in any other order; in a buffer that must grow and one with room.
	for _, doc := range [][]byte{csvrowtest.Document(name+id, fields), csvrowtest.Shuffled(r, name+id, fields)} {
		for _, room := range []int{len("before"), 1 << 12} {
			e := csvrow.NewEncoder(dataset.BuiltIn.Get(string(kind)), opts)
			got, err := e.AppendRow(append(make([]byte, 0, room), "before"...), doc)
			if err != nil {
				t.Fatalf("AppendRow(%v): %v", fields, err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("AppendRow(%s %q) =\n%q, want\n%q", kind, fields, got, want)
			}
			if !maps.Equal(e.Guarded(), guarded) {
				t.Errorf("Guarded() after %q = %v, want %v", fields, e.Guarded(), guarded)
			}
		}
	}
}

// FuzzRow compares random documents, valid and odd, with the judge.
func FuzzRow(f *testing.F) {
	for seed := range uint64(200) {
		f.Add(seed, "=1+1", " @x\x00")
	}
	f.Fuzz(func(t *testing.T, seed uint64, s1, s2 string) {
		r := rand.New(rand.NewPCG(seed, 1))
		id := "id" + s2
		if bytes.IndexByte([]byte(id), '/') >= 0 {
			id = "id"
		}
		fields := csvrowtest.RandomFields(r, []string{s1, s2})
		check(t, kinds[seed%2], csvrow.Options{FormulaGuard: seed%3 > 0}, id, fields, r)
	})
}

// FuzzBytes feeds bytes that need not be a document: no panic, and either a whole row or none.
func FuzzBytes(f *testing.F) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 2))
		doc := csvrowtest.Shuffled(r, "projects/p/databases/d/documents/C/id", csvrowtest.RandomFields(r, nil))
		f.Add(doc)
		f.Add(doc[:len(doc)/2])
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		for _, kind := range kinds {
			row, err := csvrow.NewEncoder(dataset.BuiltIn.Get(string(kind)), csvrow.Options{FormulaGuard: true}).AppendRow([]byte("x"), doc)
			switch {
			case err != nil && (!errors.Is(err, wire.ErrMalformed) || string(row) != "x"):
				t.Errorf("AppendRow() = %q, %v", row, err)
			case err == nil && !bytes.HasSuffix(row, []byte("\r\n")):
				t.Errorf("AppendRow() = %q, want a whole row", row)
			case err == nil:
				cells, err := csv.NewReader(bytes.NewReader(row[1:])).Read()
				if err != nil || len(cells) != len(dataset.BuiltIn.Get(string(kind)).Columns) {
					t.Errorf("AppendRow() = %q, which reads as %q, %v", row, cells, err)
				}
			}
		}
	})
}

// hazards are texts that are hard to write, some of them not UTF-8.
func hazards(t testing.TB) (texts []string) {
	t.Helper()
	var entries []struct {
		Text *string
		B64  string
	}
	var naughty []string
	for name, into := range map[string]any{"hazards.json": &entries, "blns.json": &naughty} {
		raw, err := os.ReadFile("testdata/" + name)
		if err == nil {
			err = json.Unmarshal(raw, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range entries {
		if e.Text != nil {
			texts = append(texts, *e.Text)
			continue
		}
		raw, err := base64.StdEncoding.DecodeString(e.B64)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(raw))
	}
	return append(texts, naughty...)
}

func TestHazards(t *testing.T) {
	t.Parallel()
	texts := hazards(t)
	if len(texts) < 1200 {
		t.Fatalf("%d hazards, want more", len(texts))
	}
	r := rand.New(rand.NewPCG(3, 4))
	for i, text := range texts {
		for _, long := range []string{text, text + strings.Repeat("x", 40_000)}[:1+(i+1)%10/9] {
			fields := map[string]any{"displayName": long, "text": long, "labels": []any{long, text}, "tags": []any{text},
				"personalInfo": map[string]any{"fullName": long}}
			check(t, kinds[i%2], csvrow.Options{FormulaGuard: i%3 > 0}, "id"+strings.ReplaceAll(text, "/", ""), fields, r)
		}
	}
}

// TestReadBack: what a CSV reader reads is what was stored, but for what the package comment says is changed.
func TestReadBack(t *testing.T) {
	t.Parallel()
	e := csvrow.NewEncoder(dataset.VIPMessages, csvrow.Options{})
	for _, text := range hazards(t) {
		doc := csvrowtest.Document("d/c/id", map[string]any{"text": text})
		row, err := e.AppendRow(nil, doc)
		if err != nil {
			t.Fatal(err)
		}
		cells, err := csv.NewReader(bytes.NewReader(row)).Read()
		if err != nil {
			t.Fatalf("row %q: %v", row, err)
		}
		want := strings.ReplaceAll(text, "\r\n", "\n") // the reader does that
		want = strings.ReplaceAll(string([]rune(want)), "\x00", "\u2400")
		if got := cells[6]; got != want {
			t.Errorf("text %q reads back as %q, want %q", text, got, want)
		}
	}
}

// FuzzUnguard: the step that the package comment documents gives back what was stored.
func FuzzUnguard(f *testing.F) {
	for _, s := range append(guardedTexts, hazards(f)...) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		text = string([]rune(text))
		if got := csvrowtest.Unguard(csvrowtest.Guard(text)); got != text {
			t.Errorf("%q is guarded as %q, which gives %q back", text, csvrowtest.Guard(text), got)
		}
		if safe := csvrowtest.Guard(text); csvrowtest.Guard(csvrowtest.Unguard(safe)) != safe {
			t.Errorf("%q comes back as what is guarded in another way", safe)
		}
	})
}

// golden documents say what the rules of cells are, by example.
var golden = map[jobs.Kind][]map[string]any{
	"vip-messages": {
		{"timestamp": time.Date(2026, 1, 2, 3, 4, 5, 678901999, time.UTC), "playerId": "p1", "displayName": "Ann", "kind": "text",
			"source": "user", "text": "hello", "labels": []any{"a", "b"}},
		{},
		{"text": nil, "labels": nil},
		{"text": "comma, \"quote\"\r\nline\nline\rend", "displayName": " leading space", "kind": `\.`, "labels": []any{}},
		{"text": "=1+1", "displayName": "  @x", "playerId": "+420", "source": "-", "kind": "\tx", "labels": []any{"=x", "y"}},
		{"text": int64(-5), "displayName": -1.5, "playerId": true, "source": []byte("\xfb\xff"), "kind": csvrowtest.Ref("projects/p/databases/d/documents/c/i")},
		{"text": map[string]any{"b": int64(1), "a": []any{nil, "x", math.NaN(), 1e21}}, "displayName": []any{"x", int64(2)}, "labels": "one"},
		{"text": "a\x00b\xffc", "labels": []any{"semi;colon", `back\slash`, nil, int64(7), map[string]any{}}, "playerId": csvrowtest.Geo{Latitude: 1, Longitude: -2.5}},
		{"timestamp": "not a time", "text": time.Unix(-1, 0), "kind": "日本語", "unknown": "x"},
		{"playerId": "+41790000000", "displayName": "-5", "kind": "+1.5e3", "source": "-2+3", "text": "'=1+1", "labels": []any{"safe", "=1+1", "-5"}},
		{"playerId": "x;=1+1", "displayName": "x\r\n=1+1", "kind": "\uff1d1", "source": "x;\"@y", "text": "a =b: =c, -d -e", "labels": []any{"\"=1"}},
	},
	"vip-users": {
		{"playerId": "p1", "displayName": "Ann", "avatarUrl": "https://example.com/a.png", "language": "en", "country": "CZ", "ltv": 12.5,
			"currency": "EUR", "tier": "gold", "tags": []any{"whale"}, "firstSeenAt": time.Unix(0, 0), "lastSeenAt": time.Unix(1e9, 1000),
			"personalInfo": map[string]any{"fullName": "Ann O'Hara", "gender": "f", "birthday": "1990-03-14", "email": "ann@example.com", "phone": "555", "city": "Brno"}},
		{"personalInfo": nil},
		{"personalInfo": "a text", "tags": []any{nil}},
		{"ltv": 1e21, "playerId": 1e-7, "displayName": 123456789012345680000.0, "tier": 0.000001, "country": math.Copysign(0, -1), "currency": math.Inf(-1)},
		{"ltv": int64(math.MaxInt64), "personalInfo": map[string]any{"birthday": nil, "phone": "+1 555", "other": "x"}},
	},
}

func TestGolden(t *testing.T) {
	t.Parallel()
	for kind, documents := range golden {
		for name, opts := range map[string]csvrow.Options{"": {FormulaGuard: true}, "-plain": {}, "-excel": {FormulaGuard: true, BOM: true}} {
			e := csvrow.NewEncoder(dataset.BuiltIn.Get(string(kind)), opts)
			file := e.AppendHeader(nil)
			for i, fields := range documents {
				var err error
				if file, err = e.AppendRow(file, csvrowtest.Document("projects/p/databases/d/documents/c/id"+string(rune('0'+i)), fields)); err != nil {
					t.Fatal(err)
				}
			}
			path := "testdata/" + string(kind) + name + ".golden.csv"
			if *update {
				if err := os.WriteFile(path, file, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(file, want) {
				t.Errorf("%s:\n%s\nwant\n%s", path, file, want)
			}
		}
	}
}

func TestHeader(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		for _, bom := range []bool{false, true} {
			header := string(csvrow.NewEncoder(dataset.BuiltIn.Get(string(kind)), csvrow.Options{BOM: bom}).AppendHeader(nil))
			rest, found := strings.CutPrefix(header, "\ufeff")
			if want := strings.Replace(strings.Join(dataset.BuiltIn.Get(string(kind)).Headers(), `","`), `"`, "", 1) + "\"\r\n"; found != bom || rest != want {
				t.Errorf("AppendHeader(%s, BOM %v) = %q, want %q", kind, bom, header, want)
			}
		}
	}
	if !slices.Equal(dataset.VIPMessages.Headers(), []string{"id", "timestamp", "playerId", "displayName", "kind", "source", "text", "labels"}) {
		t.Errorf("Columns(messages) = %v", dataset.VIPMessages.Headers())
	}
}

// TestAllocs: no row allocates once the buffers have grown, odd ones included.
func TestAllocs(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, kind := range kinds {
		docs, _ := benchData(kind)
		for range 100 {
			docs = append(docs, csvrowtest.Shuffled(r, "d/c/i", csvrowtest.RandomFields(r, nil)))
		}
		e := csvrow.NewEncoder(dataset.BuiltIn.Get(string(kind)), csvrow.Options{FormulaGuard: true})
		dst := make([]byte, 0, 1<<20)
		allocs := testing.AllocsPerRun(10, func() {
			dst = dst[:0]
			for _, doc := range docs {
				var err error
				if dst, err = e.AppendRow(dst, doc); err != nil {
					t.Fatal(err)
				}
			}
		})
		if allocs > float64(len(docs))/100 { // the runtime's own are a few
			t.Errorf("allocations for %d rows of %s = %v, want none of a row", len(docs), kind, allocs)
		}
	}
}

// TestMarkedHeader: a reader that does not know byte order marks reads the file all the same.
func TestMarkedHeader(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		d := dataset.BuiltIn.Get(string(kind))
		cells, err := csv.NewReader(bytes.NewReader(csvrow.NewEncoder(d, csvrow.Options{BOM: true}).AppendHeader(nil))).Read()
		if err != nil || len(cells) != len(d.Columns) || cells[0] != "\ufeffid" || !slices.Equal(cells[1:], d.Headers()[1:]) {
			t.Errorf("the header of %s reads as %q, %v", kind, cells, err)
		}
	}
}
