package csvrow

import (
	"math/rand/v2"
	"slices"
	"testing"

	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/dataset"
)

// FuzzSplit compares the short way of Split with the long one: where the short one knows an answer, both find
// the same bytes in the same places.
func FuzzSplit(f *testing.F) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 2))
		fields := csvrowtest.RandomFields(r, nil)
		doc := csvrowtest.Document("d/c/i", fields)
		f.Add(doc)
		f.Add(csvrowtest.Shuffled(r, "d/c/i", fields))
		f.Add(append(doc[:len(doc):len(doc)], doc...))
		f.Add(doc[:len(doc)/2])
	}
	nested := &dataset.Dataset{Columns: []dataset.Column{{Path: "id"}, {Path: "personalInfo.city"}, {Path: "personalInfo.a.b"}, {Path: "personalInfo.a"}, {Path: "personalInfo"}}}
	var splitters []*Splitter // which remember the order of fields from one document to the next
	for _, d := range []*dataset.Dataset{dataset.VIPMessages, dataset.VIPUsers, nested} {
		splitters = append(splitters, NewSplitter(d))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		for _, s := range splitters {
			of := s.top
			short, long := Row{doc: doc[:len(doc):len(doc)]}, Row{doc: doc[:len(doc):len(doc)]}
			short.reset(s.columns)
			long.reset(s.columns)
			if !short.locate(of, 0, len(doc), tagField) {
				continue
			}
			if err := long.walk(of); err != nil {
				t.Fatalf("locate() takes what walk() refuses: %v", err)
			}
			for c := range short.cells {
				if a, b := short.Cell(c), long.Cell(c); string(a) != string(b) || len(a) > 0 && short.cells[c] != long.cells[c] {
					t.Errorf("column %d = %v by locate(), %v by walk()", c, short.cells[c], long.cells[c])
				}
			}
			if a, b := short.ID(), long.ID(); string(a) != string(b) {
				t.Errorf("id = %q by locate(), %q by walk()", a, b)
			}
		}
	})
}

// TestUsualDocuments: what encoders write takes the short way, so that FuzzSplit compares something.
func TestUsualDocuments(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	users := NewSplitter(dataset.VIPUsers)
	all := dataset.VIPUsers.Columns
	city := users.columns - len(all) + slices.IndexFunc(all, func(c dataset.Column) bool { return c.Path == "personalInfo.city" })
	for range 50 {
		doc := csvrowtest.Document("d/c/i", map[string]any{
			"text": string(make([]byte, r.IntN(1<<13))), "personalInfo": map[string]any{"city": "Brno", "other": "x"}, "tags": []any{"a"},
		})
		row := Row{doc: doc[:len(doc):len(doc)]}
		row.reset(users.columns)
		if !row.locate(users.top, 0, len(doc), tagField) || string(row.ID()) != "i" || len(row.Cell(city)) == 0 {
			t.Fatalf("locate(%x) finds id %q and city %q", doc, row.ID(), row.Cell(city))
		}
	}
}
