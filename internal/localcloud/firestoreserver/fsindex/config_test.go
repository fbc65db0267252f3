package fsindex

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

const example = `{
  "indexes": [
    {"collectionGroup":"msgs","queryScope":"COLLECTION","density":"SPARSE_ALL","fields":[
      {"fieldPath":"w","order":"ASCENDING"},{"fieldPath":"tags","arrayConfig":"CONTAINS"}]},
    {"collectionGroup":"msgs","queryScope":"COLLECTION_GROUP","fields":[
      {"fieldPath":"w","order":"ASCENDING"},{"fieldPath":"at","order":"DESCENDING"},{"fieldPath":"__name__","order":"DESCENDING"}]},
    {"collectionGroup":"msgs","queryScope":"COLLECTION","fields":[
      {"fieldPath":"w","order":"ASCENDING"},{"fieldPath":"at","order":"DESCENDING"},{"fieldPath":"__name__","order":"ASCENDING"}]},
    {"collectionGroup":"msgs","queryScope":"COLLECTION","fields":[
      {"fieldPath":"emb","vectorConfig":{"dimension":3,"flat":{}}}]}
  ],
  "fieldOverrides": [
    {"collectionGroup":"msgs","fieldPath":"*","indexes":[]},
    {"collectionGroup":"msgs","fieldPath":"body","ttl":false,"indexes":[{"queryScope":"COLLECTION","order":"ASCENDING"}]},
    {"collectionGroup":"msgs","fieldPath":"body.deep","indexes":[{"queryScope":"COLLECTION_GROUP","arrayConfig":"CONTAINS"}]}
  ]
}`

func TestParse(t *testing.T) {
	t.Parallel()
	c, err := Parse([]byte(example))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, ix := range c.Composites("msgs") {
		got = append(got, ix.Key())
	}
	want := []string{
		"msgs/COLLECTION (w ASC, tags CONTAINS, __name__ ASC)",
		"msgs/COLLECTION_GROUP (w ASC, at DESC, __name__ DESC)",
		"msgs/COLLECTION (w ASC, at DESC, __name__ ASC)",
		"msgs/COLLECTION (emb VECTOR, __name__ ASC)",
	}
	if !slices.Equal(got, want) {
		t.Errorf("Composites = %q, want %q", got, want)
	}
	singles := map[string][]string{
		"msgs/other":       nil,
		"msgs/body":        {"msgs/COLLECTION (body ASC, __name__ ASC)"},
		"msgs/body.x.y":    {"msgs/COLLECTION (body.x.y ASC, __name__ ASC)"},
		"msgs/body.deep.z": {"msgs/COLLECTION_GROUP (body.deep.z CONTAINS, __name__ ASC)"},
		"users/x": {"users/COLLECTION (x ASC, __name__ ASC)", "users/COLLECTION (x DESC, __name__ DESC)",
			"users/COLLECTION (x CONTAINS, __name__ ASC)"},
	}
	for in, want := range singles {
		group, path, _ := strings.Cut(in, "/")
		field, err := fsvalue.ParseFieldPath(path)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, ix := range c.Singles(group, field) {
			got = append(got, ix.Key())
		}
		if !slices.Equal(got, want) {
			t.Errorf("Singles(%s) = %q, want %q", in, got, want)
		}
	}
}

func TestParseOverrideKeepsTheRest(t *testing.T) {
	t.Parallel()
	// Listing only a group entry switches the collection ones off.
	c, err := Parse([]byte(`{"fieldOverrides":[{"collectionGroup":"c","fieldPath":"a","indexes":[{"queryScope":"COLLECTION_GROUP","order":"ASCENDING"}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Singles("c", fsvalue.FieldPath{"a"}); len(got) != 1 || got[0].Scope != CollectionGroup {
		t.Errorf("Singles = %v, want the group index alone", got)
	}
	if _, err := Parse([]byte(" \n")); err != nil {
		t.Errorf("Parse of nothing = %v", err)
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	field := func(fields string) string {
		return `{"indexes":[{"collectionGroup":"c","queryScope":"COLLECTION","fields":[` + fields + `]}]}`
	}
	const a2 = `{"fieldPath":"a","order":"ASCENDING"},{"fieldPath":"b","order":"DESCENDING"}`
	const a, b = `{"fieldPath":"a","order":"ASCENDING"}`, `{"fieldPath":"b","arrayConfig":"CONTAINS"}`
	override := func(rest string) string {
		return `{"fieldOverrides":[{"collectionGroup":"c",` + rest + `}]}`
	}
	const asc = `{"queryScope":"COLLECTION","order":"ASCENDING"}`
	many := func(n int, entry func(int) string) string {
		list := make([]string, n)
		for i := range list {
			list[i] = entry(i)
		}
		return strings.Join(list, ",")
	}
	tests := map[string]struct{ in, want string }{
		// Each must name the stanza that production would refuse.
		"wildcard with ttl":    {override(`"fieldPath":"*","ttl":false,"indexes":[]`), `fieldOverrides[0] {"collectionGroup":"c","fieldPath":"*","ttl":false,"indexes":[]}: updating ttl other than single field level`},
		"wildcard, ttl on":     {override(`"fieldPath":"*","ttl":true,"indexes":[]`), "updating ttl other than single field level"},
		"ttl twice":            {`{"fieldOverrides":[{"collectionGroup":"c","fieldPath":"a","ttl":true,"indexes":[]},{"collectionGroup":"c","fieldPath":"b","ttl":true,"indexes":[]}]}`, `fieldOverrides[1] {"collectionGroup":"c","fieldPath":"b","ttl":true,"indexes":[]}: a collection group has one TTL policy`},
		"ttl no boolean":       {override(`"fieldPath":"a","ttl":"yes","indexes":[]`), "ttl"},
		"override twice":       {`{"fieldOverrides":[{"collectionGroup":"c","fieldPath":"a","indexes":[]},{"collectionGroup":"c","fieldPath":"a","indexes":[]}]}`, "fieldOverrides[1]"},
		"override, no list":    {override(`"fieldPath":"a"`), "indexes is missing"},
		"override entry path":  {override(`"fieldPath":"a","indexes":[{"fieldPath":"b","order":"ASCENDING"}]`), "no fieldPath of its own"},
		"override entry twice": {override(`"fieldPath":"a","indexes":[` + asc + `,` + asc + `]`), "listed twice"},
		"override of name":     {override(`"fieldPath":"__name__","indexes":[]`), "__name__"},
		"override vector":      {override(`"fieldPath":"a","indexes":[{"vectorConfig":{"dimension":3,"flat":{}}}]`), "must have one order"},
		"unknown key":          {`{"indexes":[],"fieldOverride":[]}`, `unknown field "fieldOverride"`},
		"unknown index key":    {`{"indexes":[{"collectionGroup":"c","queryscopes":"COLLECTION","fields":[` + a2 + `]}]}`, `indexes[0] {"collectionGroup":"c","queryscopes"`},
		"unknown field key":    {field(`{"fieldPath":"a","orders":"ASCENDING"}`), `unknown field "orders"`},
		"unknown override key": {override(`"fieldPath":"a","tll":false,"indexes":[]`), `unknown field "tll"`},
		"index twice":          {`{"indexes":[{"collectionGroup":"c","queryScope":"COLLECTION","fields":[` + a2 + `]},{"collectionGroup":"c","fields":[` + a2 + `,{"fieldPath":"__name__","order":"DESCENDING"}]}]}`, "indexes[1]"},
		"field in both orders": {field(`{"fieldPath":"a","order":"ASCENDING"},{"fieldPath":"a","order":"DESCENDING"}`), "listed twice"},
		"field and its name":   {field(`{"fieldPath":"a","order":"ASCENDING"},{"fieldPath":"__name__","order":"ASCENDING"}`), "one field needs no composite"},
		"name alone":           {field(`{"fieldPath":"__name__","order":"ASCENDING"}`), "one field needs no composite"},
		"scope in a field":     {field(`{"fieldPath":"a","order":"ASCENDING","queryScope":"COLLECTION"},{"fieldPath":"b","order":"ASCENDING"}`), "queryScope"},
		"vector not last":      {field(`{"fieldPath":"v","vectorConfig":{"dimension":3,"flat":{}}},{"fieldPath":"a","order":"ASCENDING"}`), "the last"},
		"two vectors":          {field(`{"fieldPath":"v","vectorConfig":{"dimension":3,"flat":{}}},{"fieldPath":"w","vectorConfig":{"dimension":3,"flat":{}}}`), "the only one"},
		"vector with order":    {field(`{"fieldPath":"v","order":"ASCENDING","vectorConfig":{"dimension":3,"flat":{}}}`), "vectorConfig alone"},
		"vector without flat":  {field(`{"fieldPath":"v","vectorConfig":{"dimension":3}}`), "flat"},
		"other edition":        {`{"indexes":[{"collectionGroup":"c","queryScope":"COLLECTION","density":"DENSE","fields":[` + a2 + `]}]}`, "Enterprise"},
		"101 fields":           {field(many(101, func(i int) string { return fmt.Sprintf(`{"fieldPath":"f%d","order":"ASCENDING"}`, i) })), "101 fields, more than 100"},
		"1001 indexes":         {`{"indexes":[` + many(1001, func(int) string { return "{}" }) + `]}`, "1001 indexes, more than 1000"},
		"1001 overrides":       {`{"fieldOverrides":[` + many(1001, func(int) string { return "{}" }) + `]}`, "1001 fieldOverrides, more than 1000"},
		"two files":            {`{} {}`, "more after the end"},
		"not JSON":             {`{`, "parse index configuration"},
		"no fields":            {field(``), "one field needs no composite"},
		"one field":            {field(a), "one field needs no composite"},
		"twice":                {field(a + "," + a), "listed twice"},
		"two arrays":           {field(b + `,{"fieldPath":"c","arrayConfig":"CONTAINS"}`), "more than one field with arrayConfig"},
		"bad order":            {field(a + `,{"fieldPath":"b","order":"UP"}`), "must have one order"},
		"order twice":          {field(a + `,{"fieldPath":"b","order":"ASCENDING","arrayConfig":"CONTAINS"}`), "must have one order"},
		"bad path":             {field(a + `,{"fieldPath":"0b","order":"ASCENDING"}`), "Invalid property path"},
		"name first":           {field(`{"fieldPath":"__name__","order":"ASCENDING"},` + a), "__name__ must be the last"},
		"bad dimension":        {field(a + `,{"fieldPath":"v","vectorConfig":{"dimension":4096,"flat":{}}}`), "dimension"},
		"bad scope":            {`{"indexes":[{"collectionGroup":"c","queryScope":"ALL","fields":[` + a + "," + b + `]}]}`, "queryScope"},
		"no group":             {`{"indexes":[{"fields":[` + a + "," + b + `]}]}`, "must not be empty"},
		"override entry":       {`{"fieldOverrides":[{"collectionGroup":"c","fieldPath":"a","indexes":[{"queryScope":"COLLECTION"}]}]}`, "must have one order"},
		"override scope":       {`{"fieldOverrides":[{"collectionGroup":"c","fieldPath":"a","indexes":[{"queryScope":"X","order":"ASCENDING"}]}]}`, "queryScope"},
		"override path":        {`{"fieldOverrides":[{"collectionGroup":"c","fieldPath":"","indexes":[]}]}`, "Invalid property path"},
		"override group":       {`{"fieldOverrides":[{"fieldPath":"a","indexes":[]}]}`, "must not be empty"},
	}
	for name, tt := range tests {
		if _, err := Parse([]byte(tt.in)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Parse = %v, want %q", name, err, tt.want)
		}
	}
}

// TestMarshalRoundTrip writes the example's composites and reads them again.
func TestMarshalRoundTrip(t *testing.T) {
	t.Parallel()
	c, err := Parse([]byte(example))
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(map[string]any{"indexes": c.Composites("msgs")})
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(b)
	if err != nil {
		t.Fatalf("Parse(%s) = %v", b, err)
	}
	for i, ix := range c.Composites("msgs") {
		if got := again.Composites("msgs")[i]; got.Key() != ix.Key() {
			t.Errorf("index %d = %s, want %s", i, got.Key(), ix.Key())
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(example))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err != nil {
			return
		}
		for _, list := range c.composites {
			for _, ix := range list {
				if len(ix.Fields) > maxFields {
					t.Errorf("index %s has too many fields", ix.Key())
				}
			}
		}
	})
}

func TestWithLeavesTheOriginal(t *testing.T) {
	t.Parallel()
	c, err := Parse([]byte(example))
	if err != nil {
		t.Fatal(err)
	}
	body := fsvalue.FieldPath{"body"}
	add := Index{Group: "msgs", Scope: CollectionGroup, Fields: []Field{{Path: body, Kind: Ascending}}, Single: true}
	with := c.With(add)
	if len(c.Singles("msgs", body)) != 1 || len(with.Singles("msgs", body)) != 2 || len(with.With(add).Singles("msgs", body)) != 2 {
		t.Error("With changed its receiver, or added an index twice")
	}
	if got := with.Singles("msgs", fsvalue.FieldPath{"body", "deep"}); len(got) != 1 || got[0].Fields[0].Kind != Contains {
		t.Errorf("With lost the more specific override: %v", got)
	}
}

// TestDeployedFile: the file that deployments bring to production is one that it takes.
func TestDeployedFile(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../../../deployments/firestore.indexes.json")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Composites("VipUsers")) == 0 || len(c.Singles("ExportJobs", fsvalue.FieldPath{"attempt"})) != 0 {
		t.Error("the file defines no indexes, or exempts nothing")
	}
}
