package fsindex

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"

	"exportd/internal/localcloud/firestoreserver/fsquery"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

var root = fsvalue.Database{Project: "p", ID: "(default)"}.Root()

// parseQuery reads a query from protojson, on collection c.
func parseQuery(t testing.TB, group bool, text string) *fsquery.Query {
	t.Helper()
	var sq firestorepb.StructuredQuery
	if err := protojson.Unmarshal([]byte(text), &sq); err != nil {
		t.Fatalf("bad query %s: %v", text, err)
	}
	if sq.From == nil {
		sq.From = []*firestorepb.StructuredQuery_CollectionSelector{{CollectionId: "c", AllDescendants: group}}
	}
	q, err := fsquery.Parse(root, &sq)
	if err != nil {
		t.Fatalf("Parse(%s) = %v", text, err)
	}
	return q
}

// query builds the protojson of a query from conditions and orders, as in query("a == 1", "tags contains 1",
// "order q DESC").
func query(parts ...string) string {
	var filters, orders []string
	for _, p := range parts {
		w := strings.Fields(p)
		switch {
		case w[0] == "order":
			dir := "ASCENDING"
			if len(w) == 3 {
				dir = w[2] + "ENDING"
			}
			orders = append(orders, `{"field":{"fieldPath":"`+w[1]+`"},"direction":"`+dir+`"}`)
		case len(w) == 2:
			filters = append(filters, `{"unaryFilter":{"field":{"fieldPath":"`+w[0]+`"},"op":"`+w[1]+`"}}`)
		default:
			op := map[string]string{"==": "EQUAL", ">": "GREATER_THAN", "<": "LESS_THAN", "!=": "NOT_EQUAL", "contains": "ARRAY_CONTAINS",
				"in": "IN", "any": "ARRAY_CONTAINS_ANY", "not-in": "NOT_IN"}[w[1]]
			value := `{"integerValue":"` + w[2] + `"}`
			switch w[1] {
			case "in", "any", "not-in":
				value = `{"arrayValue":{"values":[{"integerValue":"` + strings.Join(w[2:], `"},{"integerValue":"`) + `"}]}}`
			}
			filters = append(filters, `{"fieldFilter":{"field":{"fieldPath":"`+w[0]+`"},"op":"`+op+`","value":`+value+`}}`)
		}
	}
	where := ""
	if len(filters) > 0 {
		where = `"where":{"compositeFilter":{"op":"AND","filters":[` + strings.Join(filters, ",") + `]}},`
	}
	return `{` + where + `"orderBy":[` + strings.Join(orders, ",") + `]}`
}

// indexes builds a configuration from lines such as "a ASC, tags CONTAINS"; a leading "group:" gives the
// other scope, "exempt a" an empty override.
func indexes(t testing.TB, lines ...string) *Config {
	t.Helper()
	c, err := Parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		if path, ok := strings.CutPrefix(l, "exempt "); ok {
			c.setOverride("c", override{path: fsvalue.FieldPath{path}})
			continue
		}
		ix := Index{Group: "c", Scope: Collection}
		if rest, ok := strings.CutPrefix(l, "group:"); ok {
			ix.Scope, l = CollectionGroup, rest
		}
		for f := range strings.SplitSeq(l, ",") {
			w := strings.Fields(f)
			kind := map[string]Kind{"ASC": Ascending, "DESC": Descending, "CONTAINS": Contains}[w[1]]
			ix.Fields = append(ix.Fields, Field{Path: fsvalue.FieldPath{w[0]}, Kind: kind})
		}
		ix.Single = len(ix.Fields) == 1 && !ix.Fields[0].Path.IsName()
		if ix.Single {
			ix.Name = impliedName(ix.Fields)
		} else if err := ix.takeName(); err != nil {
			t.Fatal(err)
		}
		c = c.With(ix)
	}
	return c
}

// TestDecision holds the table of which queries production serves, and more.
func TestDecision(t *testing.T) {
	t.Parallel()
	const coll, group = "c/COLLECTION ", "c/COLLECTION_GROUP "
	tests := []struct {
		query   string
		group   bool
		sum     []string
		indexes []string
		want    string // the scans of all disjuncts, or "needs " and the index
	}{
		{query: query(), want: ""},
		{query: query("order __name__"), want: ""},
		{query: query("a == 1", "b == 2"), want: coll + "(a ASC, __name__ ASC)[1] & " + coll + "(b ASC, __name__ ASC)[1]"},
		{query: query("a == 1", "b == 2", "tags contains 3"),
			want: coll + "(a ASC, __name__ ASC)[1] & " + coll + "(b ASC, __name__ ASC)[1] & " + coll + "(tags CONTAINS, __name__ ASC)[1]"},
		{query: query("a == 1", "order a"), want: coll + "(a ASC, __name__ ASC)[1]"},
		{query: query("a == 1", "order __name__ DESC"), want: coll + "(a DESC, __name__ DESC)[1]"},
		{query: query("a > 1"), want: coll + "(a ASC, __name__ ASC)[0]"},
		{query: query("a > 1", "order a DESC"), want: coll + "(a DESC, __name__ DESC)[0]"},
		{query: query("a in 1 2"), want: coll + "(a ASC, __name__ ASC)[1] | " + coll + "(a ASC, __name__ ASC)[1]"},
		{query: query("a != 1"), want: coll + "(a ASC, __name__ ASC)[0]"},
		{query: query("a IS_NULL"), want: coll + "(a ASC, __name__ ASC)[1]"},
		{query: query("a IS_NOT_NULL"), want: coll + "(a ASC, __name__ ASC)[0]"},
		{query: query("a not-in 1 2"), want: coll + "(a ASC, __name__ ASC)[0]"},
		{query: query("tags any 1 2"), want: coll + "(tags CONTAINS, __name__ ASC)[1] | " + coll + "(tags CONTAINS, __name__ ASC)[1]"},

		{query: query("a == 1", "order q"), want: "needs " + coll + "(a ASC, q ASC, __name__ ASC)"},
		{query: query("a == 1", "order q"), indexes: []string{"a ASC, q ASC"}, want: coll + "(a ASC, q ASC, __name__ ASC)[1]"},
		{query: query("a == 1", "order q"), indexes: []string{"a DESC, q ASC"}, want: coll + "(a DESC, q ASC, __name__ ASC)[1]"},
		{query: query("a == 1", "q > 0"), want: "needs " + coll + "(a ASC, q ASC, __name__ ASC)"},
		{query: query("tags contains 1", "order q"), want: "needs " + coll + "(tags CONTAINS, q ASC, __name__ ASC)"},
		{query: query("tags contains 1", "order q"), indexes: []string{"tags CONTAINS, q ASC"}, want: coll + "(tags CONTAINS, q ASC, __name__ ASC)[1]"},
		{query: query("tags contains 1", "order q"), indexes: []string{"tags ASC, q ASC"}, want: "needs " + coll + "(tags CONTAINS, q ASC, __name__ ASC)"},
		{query: query("a == 1", "b == 2", "order q"), indexes: []string{"a ASC, q ASC", "b ASC, q ASC"},
			want: coll + "(a ASC, q ASC, __name__ ASC)[1] & " + coll + "(b ASC, q ASC, __name__ ASC)[1]"},
		{query: query("a == 1", "b == 2", "order q"), indexes: []string{"a ASC, q ASC", "b ASC, a ASC, q ASC"},
			want: coll + "(b ASC, a ASC, q ASC, __name__ ASC)[2]"},
		{query: query("a == 1", "b == 2", "order q"), indexes: []string{"a ASC, q ASC"}, want: "needs " + coll + "(a ASC, b ASC, q ASC, __name__ ASC)"},
		{query: query("order a", "order b"), want: "needs " + coll + "(a ASC, b ASC, __name__ ASC)"},
		{query: query("a > 1", "b > 1"), want: "needs " + coll + "(a ASC, b ASC, __name__ ASC)"},
		{query: query("order a", "order __name__ DESC"), want: "needs " + coll + "(a ASC, __name__ DESC)"},
		{query: query("order a", "order __name__ DESC"), indexes: []string{"a ASC, __name__ DESC"}, want: coll + "(a ASC, __name__ DESC)[0]"},
		{query: query("a == 1", "order q DESC"), indexes: []string{"a ASC, q ASC"}, want: "needs " + coll + "(a ASC, q DESC, __name__ DESC)"},
		{query: query("a == 1"), indexes: []string{"a ASC, q ASC", "exempt a"}, want: "needs " + coll + "(a ASC, __name__ ASC)"},
		{query: query("a in 1", "order d DESC", "order a"), want: "needs " + coll + "(a ASC, d DESC, __name__ ASC)"},
		{query: query("a == 1"), sum: []string{"v"}, want: "needs " + coll + "(a ASC, v ASC, __name__ ASC)"},
		{query: query("a == 1"), sum: []string{"a"}, want: coll + "(a ASC, __name__ ASC)[1]"},
		{query: query(), sum: []string{"v"}, want: coll + "(v ASC, __name__ ASC)[0]"},
		{query: query(), sum: []string{"v", "w"}, want: "needs " + coll + "(v ASC, w ASC, __name__ ASC)"},
		{query: query("tags contains 1", "order __name__ DESC"), want: "needs " + coll + "(tags CONTAINS, __name__ DESC)"},
		{query: query("order __name__ DESC"), want: "needs " + coll + "(__name__ DESC)"},
		{query: query("order __name__ DESC"), indexes: []string{"__name__ DESC"}, want: coll + "(__name__ DESC)[0]"},

		{query: query(), group: true, want: ""},
		{query: query("order a"), group: true, want: "needs " + group + "(a ASC, __name__ ASC)"},
		{query: query("order a"), group: true, indexes: []string{"group:a ASC"}, want: group + "(a ASC, __name__ ASC)[0]"},
		{query: query("order a DESC"), group: true, indexes: []string{"group:a ASC"}, want: "needs " + group + "(a DESC, __name__ DESC)"},
		{query: query("a == 1"), group: true, want: "needs " + group + "(a ASC, __name__ ASC)"},
		{query: query("a == 1"), group: true, indexes: []string{"group:a ASC"}, want: group + "(a ASC, __name__ ASC)[1]"},
		{query: query("a == 1", "order q"), indexes: []string{"group:a ASC, q ASC"}, want: "needs " + coll + "(a ASC, q ASC, __name__ ASC)"},
		{query: query("a == 1", "order q"), group: true, indexes: []string{"a ASC, q ASC"}, want: "needs " + group + "(a ASC, q ASC, __name__ ASC)"},
	}
	for _, tt := range tests {
		q := parseQuery(t, tt.group, tt.query)
		var sum []fsvalue.FieldPath
		for _, f := range tt.sum {
			sum = append(sum, fsvalue.FieldPath{f})
		}
		plan, err := indexes(t, tt.indexes...).Plan(q, sum)
		if got := describe(t, plan, err); got != tt.want {
			t.Errorf("Plan(%s) with %q, sum %q =\n %s, want\n %s", tt.query, tt.indexes, tt.sum, got, tt.want)
		}
	}
}

func describe(t testing.TB, p *Plan, err error) string {
	t.Helper()
	if err != nil {
		var missing *MissingError
		if !errors.As(err, &missing) {
			t.Fatalf("Plan = %v, want a MissingError", err)
		}
		return "needs " + missing.Index.Key()
	}
	branches := make([]string, len(p.Branches))
	for i, b := range p.Branches {
		scans := make([]string, len(b.Scans))
		for j, s := range b.Scans {
			scans[j] = s.Index.Key() + "[" + string(rune('0'+s.Points)) + "]"
			if got := len(s.Index.Fields) - s.Points; got != len(b.Tail) {
				t.Errorf("scan %s has %d fields after its points, want %d", scans[j], got, len(b.Tail))
			}
		}
		branches[i] = strings.Join(scans, " & ")
	}
	return strings.Join(branches, " | ")
}

// TestSuiteIndexes checks the composites that the official client's integration tests rely on.
func TestSuiteIndexes(t *testing.T) {
	t.Parallel()
	c := indexes(t, "updatedAt ASC, height ASC", "weight ASC, height ASC", "x ASC, testNull ASC, q ASC")
	for _, text := range []string{
		query("updatedAt == 1", "weight == 2", "height == 3"),
		query("weight == 1", "order height"),
		query("x == 1", "testNull IS_NULL", "order q"),
		query("updatedAt == 1", "weight == 2", "order height"),
	} {
		if _, err := c.Plan(parseQuery(t, false, text), nil); err != nil {
			t.Errorf("Plan(%s) = %v", text, err)
		}
	}
}

func missing(t testing.TB, group bool, text string) *MissingError {
	t.Helper()
	_, err := new(Config).Plan(parseQuery(t, group, text), nil)
	var out *MissingError
	if !errors.As(err, &out) {
		t.Fatalf("Plan(%s) = %v, want a MissingError", text, err)
	}
	return out
}

func TestMissingError(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		err        *MissingError
		before     string // the text up to the link's payload
		after      string
		payload    string // as unpack prints it
		definition string
	}{
		"composite": {
			missing(t, false, query("a == 1", "tags contains 2", "order q DESC")),
			"The query requires an index. You can create it here: https://console.firebase.google.com/v1/r/project/p/firestore/indexes?create_composite=", "",
			"projects/p/databases/(default)/collectionGroups/c/indexes/_ 1 [a 2:1] [tags 3:1] [q 2:2] [__name__ 2:2]",
			`{"collectionGroup":"c","queryScope":"COLLECTION","fields":[{"fieldPath":"a","order":"ASCENDING"},{"fieldPath":"tags","arrayConfig":"CONTAINS"},{"fieldPath":"q","order":"DESCENDING"}]}`,
		},
		"several inequalities": {
			missing(t, false, query("a > 1", "b > 1")),
			"The query requires an index. You can create it here: https://console.firebase.google.com/v1/r/project/p/firestore/indexes?create_composite=",
			" .\nThe query contains range and inequality filters on multiple fields, please refer to the documentation for index selection best practices: https://cloud.google.com/firestore/docs/query-data/multiple-range-fields.",
			"projects/p/databases/(default)/collectionGroups/c/indexes/_ 1 [a 2:1] [b 2:1] [__name__ 2:1]",
			`{"collectionGroup":"c","queryScope":"COLLECTION","fields":[{"fieldPath":"a","order":"ASCENDING"},{"fieldPath":"b","order":"ASCENDING"}]}`,
		},
		"group field": {
			missing(t, true, query("order a DESC")),
			"The query requires a COLLECTION_GROUP_DESC index for collection c and field a. You can create it here: https://console.firebase.google.com/v1/r/project/p/firestore/indexes?create_exemption=", "",
			"projects/p/databases/(default)/collectionGroups/c/fields/a 2 [a 2:2]",
			`{"collectionGroup":"c","fieldPath":"a","indexes":[{"queryScope":"COLLECTION","order":"ASCENDING"},{"queryScope":"COLLECTION","order":"DESCENDING"},{"queryScope":"COLLECTION","arrayConfig":"CONTAINS"},{"queryScope":"COLLECTION_GROUP","order":"DESCENDING"}]}`,
		},
		"group array": {
			missing(t, true, query("tags contains 1")),
			"The query requires a COLLECTION_GROUP_CONTAINS index for collection c and field tags. You can create it here: https://console.firebase.google.com/v1/r/project/p/firestore/indexes?create_exemption=", "",
			"projects/p/databases/(default)/collectionGroups/c/fields/tags 2 [tags 3:1]",
			`{"collectionGroup":"c","fieldPath":"tags","indexes":[{"queryScope":"COLLECTION","order":"ASCENDING"},{"queryScope":"COLLECTION","order":"DESCENDING"},{"queryScope":"COLLECTION","arrayConfig":"CONTAINS"},{"queryScope":"COLLECTION_GROUP","arrayConfig":"CONTAINS"}]}`,
		},
		"name alone": {
			missing(t, false, query("order __name__ DESC")),
			"The query requires an index. You can create it here: https://console.firebase.google.com/v1/r/project/p/firestore/indexes?create_composite=", "",
			"projects/p/databases/(default)/collectionGroups/c/indexes/_ 1 [__name__ 2:2]",
			`{"collectionGroup":"c","queryScope":"COLLECTION","fields":[{"fieldPath":"__name__","order":"DESCENDING"}]}`,
		},
	}
	for name, tt := range tests {
		payload, before := strings.CutPrefix(tt.err.Error(), tt.before)
		payload, after := strings.CutSuffix(payload, tt.after)
		if !before || !after {
			t.Errorf("%s: text %q", name, tt.err.Error())
		}
		if got := unpack(t, payload); got != tt.payload {
			t.Errorf("%s: link holds %q, want %q", name, got, tt.payload)
		}
		if got := tt.err.Definition(); got != tt.definition {
			t.Errorf("%s: Definition() = %s, want %s", name, got, tt.definition)
		}
		if status.Code(tt.err) != codes.FailedPrecondition {
			t.Errorf("%s: code %v, want FAILED_PRECONDITION", name, status.Code(tt.err))
		}
		with := new(Config).With(tt.err.Index)
		if tt.err.Exemption && len(with.Singles("c", tt.err.Index.Fields[0].Path)) != 4 {
			t.Errorf("%s: With did not add the field index", name)
		}
		if !tt.err.Exemption && len(with.Composites("c")) != 1 {
			t.Errorf("%s: With did not add the composite", name)
		}
	}
}

// unpack decodes google.firestore.admin.v1.Index well enough to compare.
func unpack(t testing.TB, payload string) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		t.Fatalf("link payload %q: %v", payload, err)
	}
	var walk func(b []byte, nested bool) string
	walk = func(b []byte, nested bool) string {
		var out []string
		for len(b) > 0 {
			num, typ, n := protowire.ConsumeTag(b)
			b = b[max(n, 0):]
			switch {
			case typ == protowire.VarintType:
				v, n := protowire.ConsumeVarint(b)
				b = b[max(n, 0):]
				s := string(rune('0' + v))
				if nested {
					s = string(rune('0'+num)) + ":" + s
				}
				out = append(out, s)
			case num == indexFields:
				v, n := protowire.ConsumeBytes(b)
				b = b[max(n, 0):]
				out = append(out, "["+walk(v, true)+"]")
			default:
				v, n := protowire.ConsumeString(b)
				b = b[max(n, 0):]
				out = append(out, v)
			}
		}
		return strings.Join(out, " ")
	}
	return walk(b, false)
}
