package fsvalue

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
)

func TestParseFieldPath(t *testing.T) {
	t.Parallel()
	tests := map[string]FieldPath{
		"a":                   {"a"},
		"_a1.B_2":             {"_a1", "B_2"},
		"`a.b`.c":             {"a.b", "c"},
		"`0foo`":              {"0foo"},
		"a.`*`":               {"a", "*"},
		"`\\``.`\\\\`":        {"`", `\`},
		"`é`":                 {"é"},
		"__name__":            {"__name__"},
		"`a``b`":              nil,
		"":                    nil,
		".":                   nil,
		"a.":                  nil,
		".a":                  nil,
		"a..b":                nil,
		"0foo":                nil,
		"a b":                 nil,
		"é":                   nil,
		"``":                  nil,
		"`a":                  nil,
		"`\\a`":               nil,
		"`a\\":                nil,
		"__x__":               nil,
		"a.__name__":          nil,
		"`" + "\xff" + "`":    nil,
		"a`b`":                nil,
		"`__x__`":             nil,
		"`a`.b.`c d`.__e.f__": {"a", "b", "c d", "__e", "f__"},
	}
	for in, want := range tests {
		got, err := ParseFieldPath(in)
		if want == nil {
			wantInvalid(t, "ParseFieldPath("+in+")", err, "Invalid property path")
			continue
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("ParseFieldPath(%q) = %q, %v, want %q", in, got, err, want)
		}
		if again, err := ParseFieldPath(got.String()); err != nil || !again.Equal(got) {
			t.Errorf("ParseFieldPath(%q) = %q, %v, want %q", got.String(), again, err, got)
		}
	}
}

func FuzzFieldPath(f *testing.F) {
	f.Add("a.`b.c`")
	f.Add("`\\``")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParseFieldPath(s)
		if err != nil {
			return
		}
		if again, err := ParseFieldPath(p.String()); err == nil && !again.Equal(p) {
			t.Errorf("%q parses to %q, whose spelling parses to %q", s, p, again)
		}
	})
}

func TestGetAndProject(t *testing.T) {
	t.Parallel()
	fields := object(
		"a", integer(1),
		"m", object("x", str("s"), "y", integer(2), "in", object("z", null())),
		"arr", array(object("x", integer(3))),
	).GetMapValue().Fields
	get := map[string]bool{"a": true, "m.x": true, "m.in.z": true, "m.in": true, "a.b": false, "arr.x": false, "none": false, "m.none.z": false}
	for path, want := range get {
		p, err := ParseFieldPath(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := p.Get(fields); ok != want {
			t.Errorf("Get(%s) ok = %v, want %v", path, ok, want)
		}
	}
	mask, err := ParseMask([]string{"m.in.z", "m.x", "a", "arr.x", "none"})
	if err != nil {
		t.Fatal(err)
	}
	want := object("a", integer(1), "m", object("x", str("s"), "in", object("z", null()))).GetMapValue().Fields
	if diff := cmp.Diff(want, Project(fields, mask), protocmp.Transform()); diff != "" {
		t.Errorf("Project: -want +got\n%s", diff)
	}
	if got := Project(fields, nil); len(got) != 0 {
		t.Errorf("Project with an empty mask = %v, want nothing", got)
	}
}

func TestParseMaskErrors(t *testing.T) {
	t.Parallel()
	for _, paths := range [][]string{{"a", "a"}, {"a.b", "x", "a"}, {"a.b.c", "a.b"}} {
		_, err := ParseMask(paths)
		wantInvalid(t, "ParseMask", err, "must not both")
	}
	if _, err := ParseMask([]string{"a.b", "a.c", "ab"}); err != nil {
		t.Errorf("ParseMask of siblings = %v", err)
	}
}

func TestFieldPathCompare(t *testing.T) {
	t.Parallel()
	sorted := []FieldPath{{"__a"}, {"a"}, {"a", "b"}, {"ab"}, {"z"}, {NameField}}
	if !slices.IsSortedFunc(sorted, FieldPath.Compare) {
		t.Errorf("%q is not sorted", sorted)
	}
}
