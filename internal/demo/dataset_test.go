package demo_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/demo"
)

func options(users, messages int) demo.Options {
	return demo.Options{Seed: 7, Users: users, Messages: messages, Now: time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)}
}

func generate(t testing.TB, o demo.Options) *demo.Dataset {
	t.Helper()
	data, err := demo.Generate(o)
	if err != nil {
		t.Fatalf("Generate(%+v) = %v", o, err)
	}
	return data
}

// write puts a value in a form that does not depend on the order of maps or on the protobuf library.
func write(w io.Writer, value *firestorepb.Value) {
	switch v := value.ValueType.(type) {
	case *firestorepb.Value_MapValue:
		fmt.Fprint(w, "map{")
		writeFields(w, v.MapValue.Fields)
		fmt.Fprint(w, "}")
	case *firestorepb.Value_ArrayValue:
		fmt.Fprint(w, "[")
		for _, inner := range v.ArrayValue.Values {
			write(w, inner)
			fmt.Fprint(w, ",")
		}
		fmt.Fprint(w, "]")
	case *firestorepb.Value_TimestampValue:
		fmt.Fprint(w, v.TimestampValue.AsTime().Format(time.RFC3339Nano))
	case *firestorepb.Value_StringValue:
		fmt.Fprintf(w, "%q", v.StringValue)
	case *firestorepb.Value_GeoPointValue:
		fmt.Fprint(w, v.GeoPointValue.Latitude, v.GeoPointValue.Longitude)
	case *firestorepb.Value_IntegerValue:
		fmt.Fprint(w, "int ", v.IntegerValue)
	case *firestorepb.Value_DoubleValue:
		fmt.Fprint(w, "double ", v.DoubleValue)
	case *firestorepb.Value_BooleanValue:
		fmt.Fprint(w, v.BooleanValue)
	case *firestorepb.Value_BytesValue:
		fmt.Fprintf(w, "bytes %x", v.BytesValue)
	case *firestorepb.Value_NullValue:
		fmt.Fprint(w, "null")
	default:
		panic(fmt.Sprintf("value of type %T", v))
	}
}

func writeFields(w io.Writer, fields map[string]*firestorepb.Value) {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		fmt.Fprintf(w, "%q=", name)
		write(w, fields[name])
		fmt.Fprint(w, ";")
	}
}

func digest(data *demo.Dataset) string {
	sum := sha256.New()
	for document := range data.All() {
		fmt.Fprintf(sum, "%s ", document.Path)
		writeFields(sum, document.Fields)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// TestAllIsTheSameForever fails when a change alters documents: raise the version in load.go together with
// this value.
func TestAllIsTheSameForever(t *testing.T) {
	t.Parallel()
	const want = "2611646f631002ad0e7956151ac5f11100fa07040f7f6fa0eaafe45175a7c83e"
	data := generate(t, options(300, 1000))
	if got := digest(data); got != want {
		t.Errorf("digest = %s, want %s", got, want)
	}
	if again := digest(data); again != digest(generate(t, options(300, 1000))) {
		t.Errorf("a second run over the same options differs: %s", again)
	}
	other := options(300, 1000)
	other.Seed++
	if digest(generate(t, other)) == want {
		t.Error("another seed gives the same documents")
	}
}

func TestGenerateRefusesOptions(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]demo.Options{
		"negative users":    options(-1, 0),
		"negative messages": options(0, -1),
		"no day":            {Seed: 1},
	} {
		if _, err := demo.Generate(o); err == nil {
			t.Errorf("%s: Generate = nil error", name)
		}
	}
}

func TestDocumentIDs(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^(Workspaces|Channels|VipUsers|VipMessages)/[0-9A-Za-z]{20}$`)
	seen := map[string]bool{}
	first := map[byte]int{}
	for document := range generate(t, options(3000, 20000)).All() {
		if !form.MatchString(document.Path) {
			t.Fatalf("path %q has another form", document.Path)
		}
		if seen[document.Path] {
			t.Fatalf("path %q twice", document.Path)
		}
		seen[document.Path] = true
		_, id, _ := strings.Cut(document.Path, "/")
		first[id[0]]++
	}
	if low := slices.Min(slices.Collect(maps.Values(first))); len(first) != 62 || low < len(seen)/62*7/10 {
		t.Errorf("%d first characters, the rarest %d of %d times; want 62, evenly", len(first), low, len(seen))
	}
}

func str(document demo.Document, name string) string { return document.Fields[name].GetStringValue() }

func at(document demo.Document) time.Time {
	return document.Fields["timestamp"].GetTimestampValue().AsTime()
}

func labels(document demo.Document) (out []string) {
	for _, label := range document.Fields["labels"].GetArrayValue().GetValues() {
		out = append(out, label.GetStringValue())
	}
	return out
}

func TestMessages(t *testing.T) {
	t.Parallel()
	o := options(2000, 20000)
	places, kinds, sources, found := map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}
	instants := map[time.Time]int{}
	multiline, early := 0, 0
	index := 0
	for document := range generate(t, o).Messages() {
		if index++; index > o.Messages {
			break
		}
		places[str(document, "workspaceId")+"/"+str(document, "mediumId")]++
		kinds[str(document, "kind")]++
		sources[str(document, "source")]++
		for _, label := range labels(document) {
			found[label]++
		}
		when := at(document)
		if when.Before(o.Now.AddDate(0, 0, -60)) || !when.Before(o.Now) || when.Nanosecond()%1000 != 0 {
			t.Fatalf("timestamp %v is out of range or finer than a microsecond", when)
		}
		instants[when]++
		if when.Before(o.Now.AddDate(0, 0, -58)) {
			early++
		}
		if strings.Contains(str(document, "text"), "\n") {
			multiline++
		}
	}
	if len(places) != 8 || slices.Max(slices.Collect(maps.Values(places))) < o.Messages*8/10 {
		t.Errorf("places = %v, want 8 with one of over 80 %%", places)
	}
	if len(kinds) != 4 || len(sources) != 4 || len(found) != 20 {
		t.Errorf("%d kinds, %d sources, %d labels; want 4, 4, 20", len(kinds), len(sources), len(found))
	}
	if found[demo.HazardLabel] > 0 || found[demo.EdgeLabel] > 0 {
		t.Errorf("bulk messages have the labels of hand-made ones: %v", found)
	}
	if biggest := slices.Max(slices.Collect(maps.Values(instants))); biggest <= 200 {
		t.Errorf("most messages at one instant = %d, want more than a page of 200", biggest)
	}
	shared := 0
	for _, count := range instants {
		if count >= 5 {
			shared += count
		}
	}
	if shared < o.Messages/4 || multiline < o.Messages/100 || early == 0 {
		t.Errorf("%d at shared instants, %d with line breaks, %d in the first two days", shared, multiline, early)
	}
}

func TestEveryHazardIsInTheWidestWindow(t *testing.T) {
	t.Parallel()
	o := options(10, 10)
	want := hazardTexts(t)
	for document := range generate(t, o).Messages() {
		if !slices.Contains(labels(document), demo.HazardLabel) {
			continue
		}
		when := at(document)
		if when.Before(o.Now.AddDate(0, 0, -31)) || !when.Before(o.Now) {
			t.Errorf("%s at %v is outside the window", document.Path, when)
		}
		text := str(document, "text")
		if !utf8.ValidString(text) || want[text] == 0 {
			t.Errorf("%s: text %q is not one of the hazards left", document.Path, text)
		}
		want[text]--
	}
	for text, left := range want {
		if left != 0 {
			t.Errorf("hazard %q is missing %d times", text, left)
		}
	}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	o := options(5000, 1)
	scripts, months := map[string]int{}, map[int64]int{}
	values := map[float64]int{}
	unknown, index := 0, 0
	for document := range generate(t, o).Users() {
		if index++; index > o.Users {
			break
		}
		values[document.Fields["ltv"].GetDoubleValue()]++
		info := document.Fields["personalInfo"].GetMapValue().GetFields()
		for _, letter := range info["fullName"].GetStringValue() {
			for _, name := range scriptNames() {
				if unicode.Is(unicode.Scripts[name], letter) {
					scripts[name]++
					break
				}
			}
		}
		birthday := info["birthday"].GetStringValue()
		if known := document.Fields["hasBirthday"].GetBooleanValue(); known != (birthday != "") {
			t.Fatalf("%s: hasBirthday = %v, birthday %q", document.Path, known, birthday)
		}
		month, set := document.Fields["birthdayMonth"]
		if !set {
			unknown++
			continue
		}
		day, err := time.Parse(time.DateOnly, birthday)
		if err != nil || int64(day.Month()) != month.GetIntegerValue() {
			t.Fatalf("%s: birthdayMonth %v of birthday %q (%v)", document.Path, month, birthday, err)
		}
		months[month.GetIntegerValue()]++
	}
	for _, name := range scriptNames() {
		if scripts[name] < 10 {
			t.Errorf("%d letters in %s, want at least 10", scripts[name], name)
		}
	}
	if len(months) != 12 || slices.Min(slices.Collect(maps.Values(months))) < 150 || unknown < 1500 {
		t.Errorf("months %v, unknown %d", months, unknown)
	}
	if values[0] < 1000 || values[9.99] < 100 || len(values) < 1000 {
		t.Errorf("%d users of ltv 0, %d of 9.99, %d different; want many, many, many", values[0], values[9.99], len(values))
	}
}

// scriptNames are the fifteen of names.jsonl in Unicode's terms, where Hans and Hant are both Han and Jpan
// adds the two kana.
func scriptNames() []string {
	return []string{
		"Latin", "Arabic", "Armenian", "Bengali", "Cyrillic", "Devanagari", "Georgian", "Greek",
		"Han", "Hebrew", "Hangul", "Hiragana", "Katakana", "Thaana", "Thai",
	}
}

// TestStringsAreStorable: Firestore refuses strings that are not UTF-8 and field names that are empty or
// between double underscores.
func TestStringsAreStorable(t *testing.T) {
	t.Parallel()
	var check func(path, name string, value *firestorepb.Value)
	check = func(path, name string, value *firestorepb.Value) {
		if name == "" || strings.HasPrefix(name, "__") || !utf8.ValidString(value.GetStringValue()) {
			t.Errorf("%s: field %q = %.80q cannot be stored", path, name, value.GetStringValue())
		}
		for inner, v := range value.GetMapValue().GetFields() {
			check(path, inner, v)
		}
		for _, v := range value.GetArrayValue().GetValues() {
			check(path, name, v)
		}
	}
	for document := range generate(t, options(100, 100)).All() {
		for name, value := range document.Fields {
			check(document.Path, name, value)
		}
	}
}

func BenchmarkMessages(b *testing.B) {
	data := generate(b, options(5000, b.N))
	b.ReportAllocs()
	b.ResetTimer()
	count := 0
	for range data.Messages() {
		if count++; count == b.N {
			return
		}
	}
}
