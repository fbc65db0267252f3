package jsonrow_test

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/dataset"
	"exportd/internal/jsonrow"
)

// judge is a row as the contract has it, from decoded values, with times in a zone. It has declarations of
// its own.
func judge(kind, id string, m map[string]any, zone *time.Location) map[string]any {
	text := func(v any) any { return csvrowtest.TextIn(v, zone) }
	optional := func(v any) any {
		if v == nil {
			return nil
		}
		return text(v)
	}
	list := func(v any) any {
		out := []any{}
		if elements, ok := v.([]any); ok {
			for _, e := range elements {
				out = append(out, text(e))
			}
		} else if v != nil {
			out = append(out, text(v))
		}
		return out
	}
	if kind == "vip-messages" {
		return map[string]any{"id": id, "timestamp": optional(m["timestamp"]), "playerId": text(m["playerId"]), "displayName": text(m["displayName"]), "kind": text(m["kind"]),
			"source": text(m["source"]), "text": text(m["text"]), "labels": list(m["labels"])}
	}
	p, _ := m["personalInfo"].(map[string]any)
	row := map[string]any{"id": id, "playerId": text(m["playerId"]), "displayName": text(m["displayName"]), "avatarUrl": text(m["avatarUrl"]),
		"language": text(m["language"]), "country": text(m["country"]), "ltv": optional(m["ltv"]), "currency": text(m["currency"]), "tier": text(m["tier"]),
		"tags": list(m["tags"]), "firstSeenAt": optional(m["firstSeenAt"]), "lastSeenAt": optional(m["lastSeenAt"]),
		"personalInfo": map[string]any{"fullName": text(p["fullName"]), "gender": text(p["gender"]), "birthday": optional(p["birthday"]),
			"email": text(p["email"]), "phone": text(p["phone"]), "city": text(p["city"])}}
	switch v := m["ltv"].(type) {
	case int64:
		row["ltv"] = json.Number(csvrowtest.Text(v))
	case float64:
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			row["ltv"] = json.Number(csvrowtest.Text(v))
		}
	case string:
		if json.Valid([]byte(v)) && v != "" && strings.IndexByte("-0123456789", v[0]) >= 0 && v[len(v)-1] >= '0' {
			row["ltv"] = json.Number(v)
		}
	}
	return row
}

// TestRows: the texts of listed rows are those of exported cells, whatever a document has.
func TestRows(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(11, 12))
	for _, d := range []*dataset.Dataset{dataset.VIPUsers, dataset.VIPMessages} { // those that the judge knows
		e := jsonrow.NewEncoder(d, jsonrow.Options{})
		for range 3000 {
			fields := csvrowtest.RandomFields(r, nil)
			got, err := e.AppendRow([]byte("x"), csvrowtest.Shuffled(r, "projects/p/databases/d/documents/C/id", fields))
			if err != nil || got[0] != 'x' {
				t.Fatalf("AppendRow(%q) = %q, %v", fields, got, err)
			}
			want, err := json.Marshal(judge(d.Name, "id", fields, nil))
			if err != nil {
				t.Fatal(err)
			}
			if a, b := plain(t, got[1:]), plain(t, want); a != b {
				t.Fatalf("%s row of %q =\n%s, want\n%s", d.Name, fields, a, b)
			}
		}
	}
}

// TestChosen: rows with columns and a zone that a caller has chosen have the members that rows with all have,
// in the caller's order, those of an object together.
func TestChosen(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 15))
		d := []*dataset.Dataset{dataset.VIPUsers, dataset.VIPMessages}[seed%2]
		opts := jsonrow.Options{Columns: r.Perm(len(d.Columns))[:1+r.IntN(len(d.Columns))]}
		zone := []string{"Europe/Prague", "America/St_Johns", "Pacific/Kiritimati", ""}[r.IntN(4)]
		if zone != "" {
			var err error
			if opts.Zone, err = dataset.Zone(zone); err != nil {
				t.Fatal(err)
			}
		}
		fields := csvrowtest.RandomFields(r, nil)
		all := judge(d.Name, "id", fields, opts.Zone)
		want, names := map[string]any{}, []string{}
		for _, place := range opts.Columns {
			name, inner, nested := strings.Cut(d.Columns[place].Path, ".")
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
			if !nested {
				want[name] = all[name]
				continue
			}
			if want[name] == nil {
				want[name] = map[string]any{}
			}
			want[name].(map[string]any)[inner] = all[name].(map[string]any)[inner]
			names = append(names, name+"."+inner)
		}
		got, err := jsonrow.NewEncoder(d, opts).AppendRow(nil, csvrowtest.Shuffled(r, "projects/p/databases/d/documents/C/id", fields))
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := plain(t, got), plain(t, b); a != b {
			t.Fatalf("%s, columns %v of %q in %q =\n%s, want\n%s", d.Name, opts.Columns, fields, zone, a, b)
		}
		if order := members(t, got); !slices.Equal(order, together(names)) {
			t.Fatalf("columns %v: the members are %q, want %q", opts.Columns, order, together(names))
		}
	}
}

// members are the names of members in their order, those of an object behind its own.
func members(t *testing.T, row []byte) (names []string) {
	t.Helper()
	in := json.NewDecoder(bytes.NewReader(row))
	if _, err := in.Token(); err != nil { // {
		t.Fatal(err)
	}
	for in.More() {
		name, err := in.Token()
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name.(string))
		var v json.RawMessage
		if err := in.Decode(&v); err != nil {
			t.Fatal(err)
		}
		if v[0] == '{' {
			for _, inner := range members(t, v) {
				names = append(names, name.(string)+"."+inner)
			}
		}
	}
	return names
}

// together has the names of an object's members behind its own.
func together(names []string) (out []string) {
	for _, name := range names {
		if strings.Contains(name, ".") {
			continue
		}
		out = append(out, name)
		for _, inner := range names {
			if strings.HasPrefix(inner, name+".") {
				out = append(out, inner)
			}
		}
	}
	return out
}

// TestPool: an encoder that another page has used makes the same rows, and holds nothing of that page.
func TestPool(t *testing.T) {
	t.Parallel()
	d := dataset.VIPUsers
	pool := jsonrow.NewPool(d)
	r := rand.New(rand.NewPCG(13, 14))
	for range 500 {
		doc := csvrowtest.Shuffled(r, "projects/p/databases/d/documents/C/id", csvrowtest.RandomFields(r, nil))
		e := pool.Get()
		got, err := e.AppendRow(nil, doc)
		want, wantErr := jsonrow.NewEncoder(d, jsonrow.Options{}).AppendRow(nil, doc)
		if err != nil || wantErr != nil || string(got) != string(want) {
			t.Fatalf("row of %q =\n%s, %v, want\n%s, %v", doc, got, err, want, wantErr)
		}
		pool.Put(e)
	}
	large := csvrowtest.Document("projects/p/databases/d/documents/C/id", map[string]any{"playerId": strings.Repeat("x", 1<<20)})
	collected := make(chan struct{})
	runtime.AddCleanup(&large[0], func(c chan struct{}) { close(c) }, collected)
	e := pool.Get()
	if _, err := e.AppendRow(nil, large); err != nil {
		t.Fatal(err)
	}
	pool.Put(e)
	large = nil
	for e = pool.Get(); ; runtime.GC() { // out of the pool, which a collection empties
		select {
		case <-collected:
			runtime.KeepAlive(e)
			return
		case <-t.Context().Done():
			t.Fatal("the document is still there")
		default:
		}
	}
}

// plain has members in one order, and numbers as they are written.
func plain(t *testing.T, b []byte) string {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestNumber(t *testing.T) {
	t.Parallel()
	d := &dataset.Dataset{Columns: []dataset.Column{{Path: "id", Type: dataset.Text}, {Path: "n", Type: dataset.Number}}}
	e, texts := jsonrow.NewEncoder(d, jsonrow.Options{}), int64(0)
	for v, want := range map[any]string{nil: "null", "1": "1", "-0": "-0", 12.5: "12.5", 1e21: "1e+21", 1e-7: "1e-7", math.Inf(-1): `"-Infinity"`, int64(1) << 60: "1152921504606846976",
		"abc": `"abc"`, "1 ": `"1 "`, "-": `"-"`, "007": `"007"`, "{}": `"{}"`, "true": `"true"`, true: `"true"`, "\x00": `"\u0000"`,
		time.Unix(0, 0): `"1970-01-01T00:00:00.000000Z"`} {
		got, err := e.AppendRow(nil, csvrowtest.Document("d/c/i", map[string]any{"n": v}))
		if want = `{"id":"i","n":` + want + `}`; err != nil || string(got) != want {
			t.Errorf("row of %v = %s, %v, want %s", v, got, err, want)
		}
		if strings.HasSuffix(want, `"}`) {
			texts++
		}
		if e.Texts() != texts {
			t.Errorf("of %v it is told that %d are texts, want %d", v, e.Texts(), texts)
		}
	}
}
