package records

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/genproto/googleapis/type/latlng"

	"exportd/internal/csvrow"
	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/dataset"
	"exportd/internal/vip"
	"exportd/jobs"
)

// TestJudge stores odd documents with the official client, then compares the rows of scan and encode with
// those that encoding/csv makes of what the official client reads back: the same bytes.
func TestJudge(t *testing.T) {
	t.Parallel()
	cloud, r := open(t)
	hazards := hazardTexts(t)
	random := rand.New(rand.NewPCG(7, 8))
	docs := make(map[string]map[string]any)
	add := func(collection, id string, fields map[string]any) {
		fields["workspaceId"], fields["mediumId"] = "w", "c"
		docs[collection+"/"+id] = fields
	}
	for i, text := range hazards {
		add("VipMessages", fmt.Sprintf("h%04d", i), map[string]any{
			"timestamp": start.Add(time.Duration(i) * time.Microsecond), "text": text, "displayName": text, "labels": []any{text, "x"}})
	}
	for i := range 1500 {
		fields, _ := storable(cloud.Firestore, csvrowtest.RandomFields(random, hazards), false).(map[string]any)
		collection := "VipUsers"
		if i%2 == 0 {
			collection = "VipMessages"
			fields["timestamp"] = start.Add(time.Duration(random.IntN(1000)) * time.Millisecond)
		} else if _, ok := fields["ltv"]; !ok {
			fields["ltv"] = nil
		}
		add(collection, fmt.Sprintf("=r%04d", i), fields)
	}
	store(t, cloud.Firestore, docs)
	for _, q := range []vip.Query{messages(), users()} {
		t.Run(q.Name, func(t *testing.T) {
			t.Parallel()
			e := csvrow.NewEncoder(dataset.BuiltIn.Get(q.Name), csvrow.Options{FormulaGuard: true})
			var got, want []byte
			err := r.Scan(t.Context(), q, vip.Range{}, time.Time{}, Options{PageSize: 100}, func(doc []byte) (err error) {
				got, err = e.AppendRow(got, doc)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			var guarded int64
			for _, id := range official(t, cloud.Firestore, q) {
				snapshot, err := cloud.Firestore.Collection(q.Collection).Doc(id).Get(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				fields, _ := decoded(snapshot.Data()).(map[string]any)
				row, n := csvrowtest.Row(jobs.Kind(q.Name), id, fields, true)
				want, guarded = append(want, row...), guarded+n
			}
			if !bytes.Equal(got, want) {
				i := 0
				for i < len(got) && i < len(want) && got[i] == want[i] {
					i++
				}
				t.Fatalf("files of %d and %d bytes differ at %d:\n%q, want\n%q", len(got), len(want), i, around(got, i), around(want, i))
			}
			byColumn := int64(0)
			for _, n := range e.Guarded() {
				byColumn += n
			}
			if byColumn != guarded || guarded == 0 || q.Name == "vip-messages" && bytes.Count(want, []byte("\r\n")) < len(hazards)+750 {
				t.Errorf("Guarded() = %v, want %d cells, in %d rows", e.Guarded(), guarded, bytes.Count(want, []byte("\r\n")))
			}
		})
	}
}

func around(b []byte, i int) []byte { return b[max(0, i-80):min(len(b), i+80)] }

// hazardTexts are the texts of csvrow's test data that Firestore can store.
func hazardTexts(t *testing.T) (texts []string) {
	t.Helper()
	var hazards []struct{ Text *string }
	var naughty []string
	for name, into := range map[string]any{"hazards.json": &hazards, "blns.json": &naughty} {
		raw, err := os.ReadFile("../csvrow/testdata/" + name)
		if err == nil {
			err = json.Unmarshal(raw, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range hazards {
		if h.Text != nil { // the others are bytes that are not UTF-8
			texts = append(texts, *h.Text)
		}
	}
	return append(texts, naughty...)
}

// storable makes of a random value one that Firestore takes: UTF-8, no array in an array, no empty map key.
func storable(c *firestore.Client, v any, inArray bool) any {
	switch v := v.(type) {
	case string:
		return strings.ToValidUTF8(v, "?")
	case csvrowtest.Ref:
		return c.Collection("C").Doc("id" + strings.NewReplacer("/", "", "\x00", "").Replace(strings.ToValidUTF8(string(v), "?")))
	case csvrowtest.Geo:
		return &latlng.LatLng{Latitude: v.Latitude, Longitude: v.Longitude}
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = storable(c, v[i], true)
		}
		if inArray {
			return map[string]any{"list": list}
		}
		return list
	case map[string]any:
		m := make(map[string]any, len(v))
		for k := range v {
			m[cmp.Or(strings.ToValidUTF8(k, "?"), "empty")] = storable(c, v[k], false)
		}
		return m
	}
	return v
}

// decoded makes of what the official client decodes what the judge knows.
func decoded(v any) any {
	switch v := v.(type) {
	case *firestore.DocumentRef:
		return csvrowtest.Ref(v.Path)
	case *latlng.LatLng:
		return csvrowtest.Geo{Latitude: v.Latitude, Longitude: v.Longitude}
	case []any:
		for i := range v {
			v[i] = decoded(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = decoded(v[k])
		}
	}
	return v
}
