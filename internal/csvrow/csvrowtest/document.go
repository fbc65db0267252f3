package csvrowtest

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Document returns the wire bytes of a document, with strings as they are: the generated types would refuse
// those that are not UTF-8. Fields are in the order of their names, as Firestore sends them.
func Document(name string, fields map[string]any) []byte {
	return document(name, fields, nil)
}

// Shuffled is [Document] with the fields in any order, which is as valid.
func Shuffled(r *rand.Rand, name string, fields map[string]any) []byte {
	return document(name, fields, r)
}

func document(name string, fields map[string]any, r *rand.Rand) []byte {
	b := bytesField(nil, 1, []byte(name))
	b = mapFields(b, 2, fields, r)
	b = bytesField(b, 3, timestamp(time.Unix(1, 0)))
	return bytesField(b, 4, timestamp(time.Unix(1, 0)))
}

func mapFields(b []byte, number protowire.Number, fields map[string]any, r *rand.Rand) []byte {
	keys := slices.Sorted(maps.Keys(fields))
	if r != nil {
		r.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	}
	for _, key := range keys {
		entry := bytesField(nil, 1, []byte(key))
		b = bytesField(b, number, bytesField(entry, 2, value(fields[key], r)))
	}
	return b
}

func bytesField(b []byte, number protowire.Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), content)
}

func varintField(b []byte, number protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), v)
}

func fixedField(b []byte, number protowire.Number, f float64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, number, protowire.Fixed64Type), math.Float64bits(f))
}

func timestamp(t time.Time) []byte {
	b := varintField(nil, 1, uint64(t.Unix()))
	return varintField(b, 2, uint64(t.Nanosecond()))
}

// Value returns the wire bytes of a value.
func Value(v any) []byte { return value(v, nil) }

func value(v any, r *rand.Rand) []byte {
	switch v := v.(type) {
	case nil:
		return varintField(nil, 11, 0)
	case bool:
		return varintField(nil, 1, protowire.EncodeBool(v))
	case int64:
		return varintField(nil, 2, uint64(v))
	case float64:
		return fixedField(nil, 3, v)
	case time.Time:
		return bytesField(nil, 10, timestamp(v))
	case string:
		return bytesField(nil, 17, []byte(v))
	case []byte:
		return bytesField(nil, 18, v)
	case Ref:
		return bytesField(nil, 5, []byte(v))
	case Geo:
		return bytesField(nil, 8, fixedField(fixedField(nil, 1, v.Latitude), 2, v.Longitude))
	case []any:
		var list []byte
		for _, element := range v {
			list = bytesField(list, 1, value(element, r))
		}
		return bytesField(nil, 9, list)
	case map[string]any:
		return bytesField(nil, 6, mapFields(nil, 1, v, r))
	}
	panic(fmt.Sprintf("csvrowtest: no value: %T", v))
}

// fields are the names that documents of both kinds have, and two that none has.
var fields = []string{
	"playerId", "displayName", "avatarUrl", "language", "country", "ltv", "currency", "tier", "tags", "firstSeenAt",
	"lastSeenAt", "timestamp", "kind", "source", "text", "labels", "workspaceId", "unknown",
}

var personFields = []string{"fullName", "gender", "birthday", "email", "phone", "city", "other"}

// RandomFields returns the fields of a random document: some as they should be, some missing or of any other
// type. Its texts come from the given ones.
func RandomFields(r *rand.Rand, texts []string) map[string]any {
	m := make(map[string]any)
	for _, name := range fields {
		if r.IntN(8) > 0 {
			m[name] = randomValue(r, texts, 3)
		}
	}
	switch r.IntN(4) {
	case 0:
	case 1:
		m["personalInfo"] = randomValue(r, texts, 2)
	default:
		person := make(map[string]any)
		for _, name := range personFields {
			if r.IntN(8) > 0 {
				person[name] = randomValue(r, texts, 2)
			}
		}
		m["personalInfo"] = person
	}
	return m
}

// pieces are what makes a text hard to write as CSV or JSON.
var pieces = []string{
	"", "a", "plain text", ",", `"`, "\r\n", "\n", "\r", ";", `\`, `\.`, "=", "+", "-", "@", "\t", " ", "\x00", "\xff", "\xc3",
	"\u00a0", "\u2028", "\u3000", "\ufeff", "\ufffd", "é", "日本語", "😀", "<&>", "\x1b", "\x7f", "'", "sep=,", "0123456789abcdef",
}

// RandomText puts a text together from pieces and the given texts.
func RandomText(r *rand.Rand, texts []string) string {
	s := ""
	for range r.IntN(6) {
		if len(texts) > 0 && r.IntN(3) == 0 {
			s += texts[r.IntN(len(texts))]
		} else {
			s += pieces[r.IntN(len(pieces))]
		}
	}
	return s
}

var doubles = []float64{0, math.Copysign(0, -1), 1, -1.5, 1e-6, 9.99e-7, 1e20, 1e21, 123456789012345680, 0.1,
	math.MaxFloat64, math.SmallestNonzeroFloat64, math.NaN(), math.Inf(1), math.Inf(-1), 1e-10, -2e22}

func randomValue(r *rand.Rand, texts []string, depth int) any {
	n := 16
	if depth == 0 {
		n = 13 // no lists and maps
	}
	switch r.IntN(n) {
	case 0:
		return nil
	case 1:
		return r.IntN(2) == 0
	case 2:
		return int64(r.Uint64()) >> r.IntN(64)
	case 3:
		return doubles[r.IntN(len(doubles))]
	case 4:
		return math.Float64frombits(r.Uint64())
	case 5: // any time that Firestore stores
		return time.Unix(r.Int64N(253402300800+62135596800)-62135596800, r.Int64N(1e9)).UTC()
	case 6:
		return []byte(RandomText(r, texts))
	case 7:
		return Ref("projects/p/databases/d/documents/C/" + RandomText(r, texts))
	case 8:
		return Geo{float64(r.IntN(181)-90) / 4, float64(r.IntN(361)-180) / 8}
	case 13, 14:
		list := make([]any, r.IntN(4))
		for i := range list {
			list[i] = randomValue(r, texts, depth-1)
		}
		return list
	case 15:
		m := make(map[string]any)
		for range r.IntN(4) {
			m[RandomText(r, texts)] = randomValue(r, texts, depth-1)
		}
		return m
	}
	return RandomText(r, texts)
}
